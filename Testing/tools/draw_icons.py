"""Draw the icons of the extension and of its modules.

The pictures are code so that a new module gets an icon of the same family: the same rounded tile, the same
axial slice through a head, and one motif of its own on top. Run it and commit what it writes:

    python Testing/tools/draw_icons.py
"""

from __future__ import annotations

import argparse
import os
from collections.abc import Callable
from pathlib import Path

os.environ.setdefault("QT_QPA_PLATFORM", "offscreen")

from PySide6.QtCore import QPointF, QRectF, Qt
from PySide6.QtGui import (
    QBrush,
    QColor,
    QGuiApplication,
    QImage,
    QPainter,
    QPainterPath,
    QPen,
    QRadialGradient,
)

REPOSITORY = Path(__file__).resolve().parents[2]
SIZE = 128  # pixels; the size which Slicer's extension catalogue asks for
SUPERSAMPLING = 4  # drawn larger, then reduced: smoother curves than antialiasing alone

NIGHT = QColor("#14283c")
TISSUE = QColor("#c9d6df")
TISSUE_EDGE = QColor("#8fa6b5")
BONE = QColor("#f4f7f9")
TEAL = QColor("#1fb5a3")
AMBER = QColor("#ffb238")
CORAL = QColor("#ff6f59")


def draw_tile(painter: QPainter) -> None:
    """Fill the rounded background tile that every icon of the family has."""
    gradient = QRadialGradient(QPointF(44, 36), 120)
    gradient.setColorAt(0.0, QColor("#24496b"))
    gradient.setColorAt(1.0, NIGHT)
    painter.setPen(Qt.PenStyle.NoPen)
    painter.setBrush(QBrush(gradient))
    painter.drawRoundedRect(QRectF(3, 3, 122, 122), 24, 24)


def draw_head_slice(painter: QPainter) -> None:
    """Draw an axial slice: the skull's ring, the brain inside it, the fissure between the hemispheres."""
    painter.setBrush(Qt.BrushStyle.NoBrush)
    painter.setPen(QPen(BONE, 5))
    painter.drawEllipse(QRectF(22, 13, 84, 102))
    painter.setBrush(QBrush(TISSUE))
    painter.setPen(QPen(TISSUE_EDGE, 2))
    painter.drawEllipse(QRectF(30, 21, 68, 86))
    painter.setPen(QPen(TISSUE_EDGE, 3, Qt.PenStyle.SolidLine, Qt.PenCapStyle.RoundCap))
    painter.drawLine(QPointF(64, 23), QPointF(64, 105))


def draw_network(painter: QPainter) -> None:
    """Draw a small network, three nodes to two to one, over the slice."""
    layers = [
        [QPointF(45, 40), QPointF(45, 64), QPointF(45, 88)],
        [QPointF(67, 51), QPointF(67, 77)],
        [QPointF(88, 64)],
    ]
    painter.setPen(QPen(NIGHT, 3))
    for left, right in zip(layers, layers[1:], strict=False):
        for start in left:
            for end in right:
                painter.drawLine(start, end)
    for colour, layer in zip((TEAL, AMBER, CORAL), layers, strict=True):
        painter.setBrush(QBrush(colour))
        for node in layer:
            painter.drawEllipse(node, 9, 9)


def ventricle_outline(mirrored: bool) -> QPainterPath:
    """Outline of one lateral ventricle in tile coordinates; ``mirrored`` gives the other hemisphere's."""

    def point(x: float, y: float) -> QPointF:
        return QPointF(128 - x if mirrored else x, y)

    outline = QPainterPath(point(59, 44))
    outline.cubicTo(point(50, 30), point(36, 36), point(42, 50))
    outline.cubicTo(point(46, 60), point(47, 66), point(40, 78))
    outline.cubicTo(point(33, 92), point(47, 100), point(53, 86))
    outline.cubicTo(point(60, 72), point(62, 58), point(59, 44))
    return outline


def draw_segmentation(painter: QPainter) -> None:
    """Draw two structures in the way Slicer shows a segmentation: a translucent fill with a firm outline."""
    for colour, mirrored in ((TEAL, False), (CORAL, True)):
        fill = QColor(colour)
        fill.setAlpha(205)
        painter.setBrush(QBrush(fill))
        painter.setPen(QPen(colour.darker(150), 3.5))
        painter.drawPath(ventricle_outline(mirrored))


def draw_registration(painter: QPainter) -> None:
    """Draw one outline twice, the moving one on its way to where the fixed one lies."""
    painter.setBrush(Qt.BrushStyle.NoBrush)
    painter.setPen(QPen(TEAL.darker(130), 7))
    painter.drawEllipse(QRectF(40, 34, 48, 60))
    painter.save()
    painter.translate(70, 60)
    painter.rotate(24)
    painter.setPen(QPen(CORAL, 6, Qt.PenStyle.DashLine))
    painter.drawEllipse(QRectF(-24, -30, 48, 60))
    painter.restore()
    painter.setPen(QPen(NIGHT, 6, Qt.PenStyle.SolidLine, Qt.PenCapStyle.RoundCap, Qt.PenJoinStyle.RoundJoin))
    painter.drawPolyline([QPointF(82, 88), QPointF(58, 74)])
    painter.drawPolyline([QPointF(70, 71), QPointF(57, 73), QPointF(62, 85)])


def draw_detection(painter: QPainter) -> None:
    """Draw two small lesions, the larger one in the corners of a box."""
    for colour, middle, radius in ((CORAL, QPointF(50, 54), 9), (AMBER, QPointF(80, 86), 5)):
        painter.setPen(QPen(colour.darker(150), 3))
        painter.setBrush(QBrush(colour))
        painter.drawEllipse(middle, radius, radius)
    painter.setBrush(Qt.BrushStyle.NoBrush)
    painter.setPen(QPen(TEAL.darker(120), 6, Qt.PenStyle.SolidLine, Qt.PenCapStyle.RoundCap, Qt.PenJoinStyle.RoundJoin))
    for x, y in ((-1, -1), (1, -1), (1, 1), (-1, 1)):
        corner = QPointF(50 + 19 * x, 54 + 19 * y)
        painter.drawPolyline([corner - QPointF(11 * x, 0), corner, corner - QPointF(0, 11 * y)])


def draw_classification(painter: QPainter) -> None:
    """Draw the probabilities of three classes as bars, the highest in another colour."""
    painter.setPen(QPen(NIGHT, 3))
    for colour, left, height in ((TEAL, 38, 22), (CORAL, 57, 52), (TEAL, 76, 12)):
        painter.setBrush(QBrush(colour))
        painter.drawRoundedRect(QRectF(left, 92 - height, 14, height), 3, 3)
    painter.setPen(QPen(NIGHT, 5, Qt.PenStyle.SolidLine, Qt.PenCapStyle.RoundCap))
    painter.drawLine(QPointF(34, 94), QPointF(94, 94))


def draw_icon(draw_motif: Callable[[QPainter], None]) -> QImage:
    """Return the tile and the slice with a module's own motif on top, `SIZE` x `SIZE` pixels."""
    image = QImage(SIZE * SUPERSAMPLING, SIZE * SUPERSAMPLING, QImage.Format.Format_ARGB32_Premultiplied)
    image.fill(Qt.GlobalColor.transparent)
    painter = QPainter(image)
    painter.setRenderHint(QPainter.RenderHint.Antialiasing)
    painter.scale(SUPERSAMPLING, SUPERSAMPLING)
    draw_tile(painter)
    draw_head_slice(painter)
    draw_motif(painter)
    painter.end()
    return image.scaled(
        SIZE, SIZE, Qt.AspectRatioMode.IgnoreAspectRatio, Qt.TransformationMode.SmoothTransformation
    )


ICONS: dict[str, Callable[[QPainter], None]] = {
    "MedDeepExtension/Resources/Icons/MedDeepExtension.png": draw_network,
    "SegmentModule/Resources/Icons/SegmentModule.png": draw_segmentation,
    "RegisterModule/Resources/Icons/RegisterModule.png": draw_registration,
    "DetectModule/Resources/Icons/DetectModule.png": draw_detection,
    "ClassifyModule/Resources/Icons/ClassifyModule.png": draw_classification,
}


def main() -> None:
    parser = argparse.ArgumentParser(description="Draw the icons of the extension and of its modules.")
    parser.add_argument("--output", type=Path, default=REPOSITORY, help="write below this folder instead")
    output_folder = parser.parse_args().output
    # QPainter needs an application object for its paint engines, though no window is opened.
    application = QGuiApplication.instance() or QGuiApplication([])
    for relative_path, draw_motif in ICONS.items():
        path = output_folder / relative_path
        path.parent.mkdir(parents=True, exist_ok=True)
        if not draw_icon(draw_motif).save(str(path), "PNG"):
            raise SystemExit(f"The icon could not be written to {path}: check that the folder is writable.")
        print(f"{path}: {path.stat().st_size} bytes")
    del application


if __name__ == "__main__":
    main()
