"""Stand-ins of the CTK buttons, boxes and texts, among them the collapsible sections of Slicer's panels."""

from __future__ import annotations

from PySide6 import QtCore, QtGui, QtWidgets
from PySide6.QtCore import Property, Qt, Signal

from slicerhost.cpp import add_property, cpp_class, enum_to_int

NO_MAXIMUM_HEIGHT = 16777215  # QWIDGETSIZE_MAX
VISIBILITY = (
    "visibilityToParent"  # CTK keeps the visibility that the module asked for in this dynamic property
)


@cpp_class
class ctkCollapsibleButton(QtWidgets.QAbstractButton):
    """A titled section of a panel. Checked means expanded; children are hidden while it is collapsed."""

    contentsCollapsed = Signal(bool)

    def __init__(self, *arguments):
        parent = next((item for item in arguments if isinstance(item, QtWidgets.QWidget)), None)
        self._collapsed = False
        self._forcing_visibility = False
        self._collapsed_height = 10
        super().__init__(parent)
        self.setCheckable(True)
        self.setChecked(True)
        self.setSizePolicy(QtWidgets.QSizePolicy.Minimum, QtWidgets.QSizePolicy.Preferred)
        self.setContentsMargins(0, self._header_height(), 0, 0)
        self.toggled.connect(lambda checked: self._collapse(not checked))
        if arguments and isinstance(arguments[0], str):
            self.setText(arguments[0])

    def setCollapsed(self, collapsed: bool) -> None:
        self.setChecked(not collapsed)

    collapsed = Property(bool, lambda self: self._collapsed, setCollapsed)

    def setCollapsedHeight(self, height: int) -> None:
        self._collapsed_height = height
        self.updateGeometry()

    collapsedHeight = Property(int, lambda self: self._collapsed_height, setCollapsedHeight)

    def _collapse(self, collapsed: bool) -> None:
        if collapsed == self._collapsed:
            return
        self._collapsed = collapsed
        self.setMaximumHeight(self.sizeHint().height() if collapsed else NO_MAXIMUM_HEIGHT)
        for child in self.children():
            if child.isWidgetType():
                self._show_child(child)
        self.updateGeometry()
        self.contentsCollapsed.emit(collapsed)

    def _show_child(self, child: QtWidgets.QWidget) -> None:
        wanted = child.property(VISIBILITY)
        self._forcing_visibility = True
        child.setVisible(not self._collapsed and wanted is not False)
        self._forcing_visibility = False

    def childEvent(self, event):
        child = event.child()
        if event.type() == QtCore.QEvent.ChildAdded and child is not None and child.isWidgetType():
            child.installEventFilter(self)
        if event.type() == QtCore.QEvent.ChildPolished and child.isWidgetType() and self._collapsed:
            self._show_child(child)
        super().childEvent(event)

    def eventFilter(self, child, event):
        """Remember what the module wants for a child, also while the section is collapsed."""
        kind = event.type()
        if kind in (QtCore.QEvent.ShowToParent, QtCore.QEvent.HideToParent) and not self._forcing_visibility:
            shown = kind == QtCore.QEvent.ShowToParent
            child.setProperty(VISIBILITY, shown)
            if shown and self._collapsed:
                self._show_child(child)
        return False

    def _header_height(self) -> int:
        return self.fontMetrics().height() + 10

    def _header_size(self) -> QtCore.QSize:
        return QtCore.QSize(self.fontMetrics().horizontalAdvance(self.text) + 40, self._header_height())

    def hitButton(self, position) -> bool:
        return position.y() < self._header_height()

    def sizeHint(self):
        return self._size_for(super().sizeHint())

    def minimumSizeHint(self):
        return self._size_for(super().minimumSizeHint())

    def _size_for(self, contents: QtCore.QSize) -> QtCore.QSize:
        header = self._header_size()
        if self._collapsed:
            return header + QtCore.QSize(0, self._collapsed_height)
        layout_size = self.layout().totalMinimumSize() if self.layout() else QtCore.QSize(0, 0)
        return contents.expandedTo(header).expandedTo(layout_size)

    def paintEvent(self, event):
        painter = QtGui.QPainter(self)
        option = QtWidgets.QStyleOptionButton()
        option.initFrom(self)
        option.rect = QtCore.QRect(0, 0, self.rect.width(), self._header_height())
        option.state |= QtWidgets.QStyle.State_Sunken if self.isDown() else QtWidgets.QStyle.State_Raised
        style = self.style()
        style.drawControl(QtWidgets.QStyle.CE_PushButtonBevel, option, painter, self)
        arrow = QtWidgets.QStyleOption()
        arrow.initFrom(self)
        arrow.rect = QtCore.QRect(8, (option.rect.height() - 10) // 2, 10, 10)
        element = (
            QtWidgets.QStyle.PE_IndicatorArrowRight
            if self._collapsed
            else QtWidgets.QStyle.PE_IndicatorArrowDown
        )
        style.drawPrimitive(element, arrow, painter, self)
        flags = Qt.AlignLeft | Qt.AlignVCenter | Qt.TextShowMnemonic
        text_rect = option.rect.adjusted(26, 0, -4, 0)
        style.drawItemText(painter, text_rect, flags, self.palette, self.isEnabled(), self.text)
        painter.end()


for _type, _name, _default in (
    (int, "contentsFrameShape", 0),
    (int, "contentsFrameShadow", 0x10),
    (int, "contentsLineWidth", 1),
    (int, "contentsMidLineWidth", 0),
    (int, "buttonTextAlignment", 0x81),
    (int, "indicatorAlignment", 0x81),
):
    add_property(ctkCollapsibleButton, _type, _name, _default, convert=enum_to_int)


@cpp_class
class ctkCollapsibleGroupBox(QtWidgets.QGroupBox):
    """A group box that hides its children when unchecked."""

    def __init__(self, *arguments):
        super().__init__(*arguments)
        self.setCheckable(True)
        self.toggled.connect(self._expand)

    def _expand(self, expanded: bool) -> None:
        for child in self.children():
            if child.isWidgetType():
                child.setVisible(expanded)
        self.setMaximumHeight(NO_MAXIMUM_HEIGHT if expanded else self.fontMetrics().height() + 10)

    def setCollapsed(self, collapsed: bool) -> None:
        self.setChecked(not collapsed)

    def childEvent(self, event):
        child = event.child()
        if event.type() == QtCore.QEvent.ChildPolished and child.isWidgetType() and not self.checked:
            child.hide()
        super().childEvent(event)

    collapsed = Property(bool, lambda self: not self.checked, setCollapsed)


@cpp_class
class ctkPushButton(QtWidgets.QPushButton):
    """A push button with aligned text; looks like a plain one here."""


@cpp_class
class ctkMenuButton(ctkPushButton):
    """A push button with a menu."""


@cpp_class
class ctkCheckBox(QtWidgets.QCheckBox):
    """A check box that may show an icon as indicator; looks like a plain one here."""


@cpp_class
class ctkCheckablePushButton(ctkPushButton):
    """A push button with a check box in it: `checkState` is the box, `checked` the button."""

    checkBoxToggled = Signal(bool)
    checkStateChanged = Signal(object)
    CPP_SIGNALS = {"checkStateChanged(Qt::CheckState)": "checkStateChanged"}

    def __init__(self, *arguments):
        super().__init__(*arguments)
        self._state = Qt.Unchecked

    def setCheckState(self, state) -> None:
        state = Qt.CheckState(state)
        if state != self._state:
            self._state = state
            self.checkStateChanged.emit(state)
            self.checkBoxToggled.emit(state == Qt.Checked)
            self.update()

    checkState = Property(Qt.CheckState, lambda self: self._state, setCheckState)


for _name, _default in (
    ("checkBoxControlsButton", True),
    ("checkBoxControlsButtonToggleState", True),
    ("checkBoxUserCheckable", True),
):
    add_property(ctkCheckablePushButton, bool, _name, _default)


for _name in ("buttonTextAlignment", "iconAlignment", "indicatorAlignment", "elideMode"):
    add_property(ctkPushButton, int, _name, 0, convert=enum_to_int)
add_property(ctkCollapsibleGroupBox, int, "collapsedHeight", 14)


@cpp_class
class ctkColorPickerButton(QtWidgets.QPushButton):
    """A button that shows a colour and asks for another when clicked."""

    colorChanged = Signal(QtGui.QColor)

    def __init__(self, *arguments):
        super().__init__(*arguments)
        self._color = QtGui.QColor(Qt.black)
        self._show_color()

    def setColor(self, color) -> None:
        color = QtGui.QColor(color)
        if color != self._color:
            self._color = color
            self._show_color()
            self.colorChanged.emit(color)

    def _show_color(self) -> None:
        pixmap = QtGui.QPixmap(16, 16)
        pixmap.fill(self._color)
        self.setIcon(QtGui.QIcon(pixmap))
        self.setText(self._color.name() if self.displayColorName else "")

    color = Property(QtGui.QColor, lambda self: QtGui.QColor(self._color), setColor)


add_property(ctkColorPickerButton, bool, "displayColorName", True, changed=ctkColorPickerButton._show_color)


@cpp_class
class ctkFittedTextBrowser(QtWidgets.QTextBrowser):
    """A text browser as high as its text."""

    def sizeHint(self):
        self.document.setTextWidth(max(self.viewport().width, 100))
        height = int(self.document.size.height()) + 2 * self.frameWidth
        return QtCore.QSize(super().sizeHint().width(), height)

    minimumSizeHint = sizeHint


@cpp_class
class ctkSearchBox(QtWidgets.QLineEdit):
    """A line edit for a search term."""

    def __init__(self, *arguments):
        super().__init__(*arguments)
        self.setPlaceholderText("Search...")
        self.setClearButtonEnabled(True)


add_property(ctkFittedTextBrowser, bool, "collapsed", False)
add_property(ctkFittedTextBrowser, bool, "collapsible", False)
add_property(ctkSearchBox, bool, "showSearchIcon", False)
add_property(ctkSearchBox, bool, "alwaysShowClearIcon", False)
add_property(ctkColorPickerButton, int, "dialogOptions", 0, convert=enum_to_int)


@cpp_class
class ctkMessageBox(QtWidgets.QMessageBox):
    """A message box; with `dontShowAgainSettingsKey` set it is not shown again once the user has chosen that."""

    def exec_(self, *arguments):
        key = self.dontShowAgainSettingsKey
        remembered = QtCore.QSettings().value(key) if key else None
        if remembered not in (None, ""):
            return int(remembered)
        return super().exec_(*arguments)


add_property(ctkMessageBox, str, "dontShowAgainSettingsKey", "")
add_property(ctkMessageBox, bool, "dontShowAgainVisible", False)
add_property(ctkMessageBox, bool, "dontShowAgain", False)


class ctkWidgetsUtils:
    """Screenshots of widgets."""

    @staticmethod
    def grabWidget(widget: QtWidgets.QWidget, rectangle: QtCore.QRect | None = None) -> QtGui.QImage:
        pixmap = widget.grab() if rectangle is None else widget.grab(rectangle)
        return pixmap.toImage()
