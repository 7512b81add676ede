"""The only part of MedDeepLib that knows Slicer's scene: nodes to arrays and files, and Slicer without a
window.

``headless`` makes ``slicer-core`` behave like a Slicer application without a main window, ``nodes`` converts
MRML nodes to arrays and files with their geometry, and ``views`` renders slice and 3D views off-screen.
Nothing here imports torch or MONAI, and importing this package alone imports neither slicer nor vtk.
"""
