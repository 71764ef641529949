"""The screen itself: textual's widgets, and the keys.

Nothing from a capture is ever read as markup: all texts go into `rich.text.Text`.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import ClassVar, Protocol

from rich.text import Text
from textual import events
from textual.app import App, ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import VerticalScroll
from textual.screen import ModalScreen
from textual.widgets import DataTable, Footer, Input, Static

from analysis.text_safety import width as columns_of
from screen.last_events import Line
from screen.link import Status
from screen.picture import Picture
from screen.view import (
    BAD,
    CONTAINER_HEADS,
    DAEMON_HEADS,
    DIM,
    FINDING_HEADS,
    GOOD,
    PLAIN,
    WARN,
    Findings,
    Row,
    Rows,
    age_text,
    event_lines,
    head_text,
    make_rows,
)
from tracer.clock import boot_ns

_STYLES = {GOOD: "green", BAD: "bold red", WARN: "yellow", DIM: "dim", PLAIN: ""}
_HEADS = {"daemons": DAEMON_HEADS, "containers": CONTAINER_HEADS, "findings": FINDING_HEADS}
_TABLES = tuple(_HEADS)
_LINES_SHOWN = 100

_HELP = """\
The state of this host's containers while rtrace records. What stands here is what
`rtrace report` would say of a save made now; the line below the first says how old it is.

  up, down   choose a row           tab      to the next table
  enter      the story of the row: why it ended, its timeline; of a finding what to do next
  /          show only rows and events with a text in them: name, id, pid. Escape: all
  f          findings alone, and back
  s          save what is recorded up to now, as `rtrace snapshot` does, and go on
  p          stop the view, and go on. The recording goes on all the time
  q, Ctrl-C  end the recording
  escape     back

  running    in green. no shim: process 1 lives, and its shim does not
  since      start of process 1 or of the daemon; of what has ended, its end
  NEW        a finding that came in the last minute. over: one that is not true any more,
             or that older events told which are not looked at any more
"""


class Control(Protocol):
    """What the screen can have done."""

    def begin(self) -> None: ...
    def save(self) -> None: ...
    def end(self) -> None: ...
    def do(self, job: Callable[[], None]) -> None: ...


class Pane(ModalScreen[None]):
    """Text that can be scrolled, over everything else."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("escape,q,enter,question_mark", "app.pop_screen", "back", priority=True),
    ]

    def __init__(self, title: str, text: str) -> None:
        super().__init__()
        self._title, self._text = title, text

    def compose(self) -> ComposeResult:
        with VerticalScroll(id="pane"):
            yield Static(Text(self._title, style="bold"))
            yield Static(Text(self._text), id="story")
        yield Footer()

    def on_mount(self) -> None:
        self.query_one("#pane").focus()

    def show(self, text: str) -> None:
        """Puts another text there."""
        self._text = text
        if self.is_mounted:
            self.query_one("#story", Static).update(Text(text))


class LiveScreen(App[None]):
    """See `_HELP`.

    Args:
        path: the capture, for the first line.
        chosen: what is recorded, "" for all.
        began_ns: when the recording began, boot time.
        control: does what keys ask for.
    """

    CSS = """
    #head, #age, #events { text-wrap: nowrap; text-overflow: ellipsis; }
    #head { height: 1; text-style: bold; }
    #age { height: 1; color: $text-muted; }
    DataTable { height: auto; scrollbar-size-vertical: 1; scrollbar-size-horizontal: 0; }
    DataTable:nocolor > .datatable--cursor { text-style: reverse; }
    DataTable:nocolor > .datatable--header { text-style: bold underline; }
    #daemons { max-height: 22%; }
    #containers { max-height: 38%; }
    #findings { max-height: 32%; }
    .alone #findings { height: 1fr; max-height: 100%; }
    .alone #daemons, .alone #containers, .alone #events, .alone #events-head { display: none; }
    #events-head { height: 1; text-style: bold; }
    #events { height: 1fr; min-height: 2; }
    #filter { display: none; height: 1; border: none; padding: 0; }
    #pane { height: 1fr; padding: 0 1; }
    """
    TITLE = "rtrace record --live"
    ENABLE_COMMAND_PALETTE = False
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("q", "end", "end recording"),
        Binding("ctrl+c,ctrl+q", "end", "end recording", show=False, priority=True),
        # First of all, so that the next key is for the field already, however fast it comes.
        Binding("slash", "filter", "filter", priority=True),
        Binding("f", "findings", "findings"),
        Binding("s", "save", "save"),
        Binding("p", "pause", "pause"),
        Binding("question_mark", "help", "help"),
        Binding("escape", "back", "back", show=False),
    ]

    def __init__(self, path: str, chosen: str, began_ns: int, control: Control) -> None:
        # The terminal's own colours, light or dark; textual must know it before it reads NO_COLOR.
        super().__init__(ansi_color=True)
        self.theme = "ansi-dark"
        self._path, self._chosen, self._began_ns = path, chosen, began_ns
        self._control = control
        self._status, self._picture, self._picture_at_s = Status(), None, 0.0
        self._rows, self._findings = Rows(), Findings()
        self._lines: list[Line] = []
        self._wanted = ""
        self._paused = self._ending = False
        self._trouble = ""
        self._waiting: Picture | None = None
        self._anew = True
        self._shown: dict[str, tuple[Row, ...]] = {}

    _picture: Picture | None

    def compose(self) -> ComposeResult:
        yield Static(id="head")
        yield Static(id="age")
        for name in _TABLES:
            table: DataTable[Text] = DataTable(id=name, cursor_type="row", show_cursor=False)
            yield table
        yield Static(Text("LAST EVENTS"), id="events-head")
        yield Static(id="events")
        yield Input(id="filter", placeholder="name, id or pid; enter: keep, escape: all")
        yield Footer(compact=True)

    def on_mount(self) -> None:
        self._draw_anew()
        self._table("containers").focus()
        self.set_interval(0.5, self._tick)
        self._tick()
        self._control.begin()

    # --- what comes in, from other threads -----------------------------------------------------

    def show_status(self, status: Status) -> None:
        """See `screen.watch.Viewer`."""
        self._status = status

    def show_line(self, line: str) -> None:
        """See Viewer."""
        self.call_later(self.notify, line, markup=False, timeout=15)

    def show_picture(self, picture: Picture) -> None:
        """See Viewer."""
        self.call_later(self._take_picture, picture)

    def show_events(self, lines: list[Line]) -> None:
        """See Viewer."""
        self.call_later(self._take_events, lines)

    def show_trouble(self, text: str) -> None:
        """See Viewer."""
        self._trouble = text

    def recording_ended(self) -> None:
        """See Viewer."""
        self.call_later(self.exit)

    @property
    def _is_there(self) -> bool:
        """Whether there is something to draw on: not before it is made, nor at the end."""
        return all(self.query(f"#{name}") for name in (*_TABLES, "age", "events"))

    def _take_picture(self, picture: Picture) -> None:
        self._waiting = picture if self._paused else None
        if self._paused or not self._is_there:
            return
        self._picture, self._picture_at_s, self._trouble = picture, time.monotonic(), ""
        self._rows = make_rows(picture, self._findings, time.monotonic())
        self._show_rows()
        self._tick()

    def _take_events(self, lines: list[Line]) -> None:
        if not self._paused and self._is_there:
            self._lines = lines
            self._show_events()

    # --- drawing -------------------------------------------------------------------------------

    def _tick(self) -> None:
        if not self._is_there:
            return
        now_s = time.monotonic()
        elapsed_s = (boot_ns() - self._began_ns) / 1e9
        head = head_text(self._path, self._status, elapsed_s, self._chosen)
        self.query_one("#head", Static).update(Text(head))
        age = age_text(self._picture, now_s - self._picture_at_s)
        notes = [age, self._trouble]
        notes.insert(0, "ENDING THE RECORDING" if self._ending else "")
        notes.insert(0, "VIEW STOPPED (p goes on)" if self._paused else "")
        notes.append(f"only with {self._wanted!r}" if self._wanted else "")
        text = "; ".join(note for note in notes if note)
        self.query_one("#age", Static).update(Text(text))

    def on_resize(self) -> None:
        """Columns have other widths."""
        if self._is_there:
            self._draw_anew()

    def _draw_anew(self) -> None:
        self._anew = True
        self._show_rows()
        self._show_events()

    def _show_rows(self) -> None:
        shown = self._rows.filtered(self._wanted)
        for name, rows in zip(
            _TABLES, (shown.daemons, shown.containers, shown.findings), strict=True
        ):
            before = self._shown.get(name, ())
            if before != rows or self._anew:
                table = self._table(name)
                chosen = before[table.cursor_row] if table.cursor_row < len(before) else None
                self._shown[name] = rows
                self._fill(table, rows, chosen)
        self._anew = False

    def _fill(self, table: DataTable[Text], rows: Sequence[Row], chosen: Row | None) -> None:
        """The same row stays chosen, wherever it is now."""
        heads = _HEADS[str(table.id)]
        whole = table.id == "findings" and self.screen.has_class("alone")
        with self.batch_update():
            table.clear(columns=True)
            for head, width in zip(heads, self._widths(heads, rows), strict=True):
                table.add_column(Text(head), width=width)
            for row in rows:
                cells = [
                    Text(cell, style=_STYLES[row.tone], no_wrap=not whole, overflow="ellipsis")
                    for cell in row.cells
                ]
                table.add_row(*cells, height=None if whole else 1)
            same = [n for n, row in enumerate(rows) if chosen and row.key == chosen.key]
            table.move_cursor(row=same[0] if same else 0)

    def _widths(self, heads: Sequence[str], rows: Sequence[Row]) -> list[int]:
        """Of the columns: what is in them; the last one has what is left of the screen."""
        lines = [heads, *(row.cells for row in rows)]
        widths = [max(columns_of(line[n]) for line in lines) for n in range(len(heads) - 1)]
        scrollbar, padding = 1, 2 * len(heads)
        left = self.size.width - sum(widths) - padding - scrollbar
        return [*widths, max(left, columns_of(heads[-1]))]

    def _show_events(self) -> None:
        tgids: set[int] = set()
        if self._wanted and self._picture is not None:
            found = self._rows.filtered(self._wanted).containers
            tgids = self._picture.tgids_of(row.key for row in found)
        lines = event_lines(self._lines, self._wanted, tgids)
        place = self.query_one("#events", Static)
        room = max(place.size.height, 2)
        text = Text("\n".join(lines[-min(room, _LINES_SHOWN) :]))
        place.update(text)

    def _table(self, name: str) -> DataTable[Text]:
        return self.query_one(f"#{name}", DataTable)

    def on_descendant_focus(self, event: events.DescendantFocus) -> None:
        """Of the chosen rows only that of the table that takes keys is marked."""
        if isinstance(event.widget, DataTable):
            for table in self.query(DataTable):
                table.show_cursor = table is event.widget

    # --- keys ----------------------------------------------------------------------------------

    def action_end(self) -> None:
        """The recorder ends, and with it the screen."""
        self._ending = True
        self._control.end()
        self._tick()

    def action_save(self) -> None:
        """The recorder says where."""
        self._control.save()

    def action_pause(self) -> None:
        self._paused = not self._paused
        if self._waiting is not None:
            self._take_picture(self._waiting)
        self._tick()

    def action_findings(self) -> None:
        self.screen.toggle_class("alone")
        self._draw_anew()  # alone they have room for whole sentences
        alone = self.screen.has_class("alone")
        self.screen.set_focus(self._table("findings" if alone else "containers"))

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        """In the field, and in a pane, / is a letter."""
        if action != "filter":
            return True
        return len(self.screen_stack) == 1 and not self.query_one("#filter", Input).display

    def action_filter(self) -> None:
        field = self.query_one("#filter", Input)
        field.display = True
        field.value = self._wanted
        self.screen.set_focus(field)

    async def action_back(self) -> None:
        field = self.query_one("#filter", Input)
        if field.display or self._wanted:
            self._set_filter("")
            self._leave_filter(field)
        elif self.screen.has_class("alone"):
            self.action_findings()

    def action_help(self) -> None:
        self.push_screen(Pane("rtrace record --live", _HELP))

    def on_input_changed(self, event: Input.Changed) -> None:
        if self._is_there:
            self._set_filter(event.value)

    def on_input_submitted(self, event: Input.Submitted) -> None:
        if self._is_there:
            self._leave_filter(event.input)

    def _leave_filter(self, field: Input) -> None:
        field.display = False
        alone = self.screen.has_class("alone")
        self.screen.set_focus(self._table("findings" if alone else "containers"))

    def _set_filter(self, wanted: str) -> None:
        self._wanted = wanted.strip()
        self._show_rows()
        self._show_events()
        self._tick()

    def on_data_table_row_selected(self, event: DataTable.RowSelected) -> None:
        """The story of the row, which the thread of pictures tells."""
        rows = self._shown.get(str(event.data_table.id), ())
        picture = self._picture
        if picture is None or event.cursor_row >= len(rows):
            return
        row = rows[event.cursor_row]
        pane = Pane("  ".join(row.cells), "asking ...")
        self.push_screen(pane)
        if not row.key:
            pane.show("It is over: `rtrace report` of a save may still tell of it.")
            return
        width = self.size.width - 3

        def tell() -> None:
            text = picture.tell(row.kind, row.key, width)
            self.call_later(pane.show, text)

        self._control.do(tell)
