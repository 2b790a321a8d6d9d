"""A broker that is gone and comes back: mosquitto on loopback."""

from __future__ import annotations

from pathlib import Path
from time import monotonic, sleep

from faults.outputs import standing_still
from faults.program import Program, wrong_with_end
from faults.row import Fault, Row, skipped
from faults.streams import FPS, rtsp, without_the_end

_GONE = 5.0  # seconds
_PATIENCE = 15.0


def gone(engine: Path, folder: Path) -> Row:
    """Kill the broker, and start it after 5 s; a client that joins it hears the device again."""
    name = f"MQTT broker killed, back after {_GONE:.0f} s"
    try:
        from tests.outputs.broker import MOSQUITTO, Listener, running
    except ImportError as error:
        return skipped(name, f"{error}: pip install 'ssd-edge[mqtt]'")
    if MOSQUITTO is None:
        return skipped(name, "no mosquitto: sudo apt install mosquitto")
    with (
        running(folder) as broker,
        rtsp() as server,
        Program(engine, server.address, "--mqtt", broker.address) as program,
    ):
        program.wait_for_start(2 * FPS)
        with Listener(broker.port) as listener:
            before = program.wait_until(lambda: bool(listener.messages), _PATIENCE)
        began = monotonic()
        broker.kill()
        sleep(_GONE)
        broker.start()
        ended = monotonic()
        with Listener(broker.port) as listener:
            heard = program.wait_until(lambda: bool(listener.messages), _PATIENCE)
            row = Row(name, lost=0, recovery=monotonic() - ended if heard else None)
        sleep(1.0)
        code = program.end()
    row.reported = program.lines_said(began, ended + 10)
    row.wrong += [] if before else ["nothing was published before"]
    row.wrong += [] if heard else ["nothing was published again"]
    row.wrong += [*wrong_with_end(program, code), *standing_still(program, began)]
    row.note = "mosquitto; recovery: until a client that joins hears the device"
    row.judge()
    return without_the_end(row)


FAULTS: dict[str, Fault] = {"broker-gone": gone}
