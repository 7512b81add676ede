"""File formats: how DICOM, NRRD, NIfTI and segmentation files are read and written."""
