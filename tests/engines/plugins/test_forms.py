"""The choice of a form of decode for a release of TensorRT, and the limit of one form per process."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

from ssd_edge.engines.cuda.device import open_driver
from ssd_edge.engines.kernels.images import KernelImage
from ssd_edge.engines.plugins import ahead_of_time, forms
from ssd_edge.engines.plugins.forms import FORMS, NEEDED_AT_RUN_TIME, choose_form, form_with_kernels, make_known
from ssd_edge.errors import BackendError, BundleCompatibilityError
from tests.cuda.emulated import Emulated

TENSORRT = SimpleNamespace()


@pytest.fixture(autouse=True)
def _a_new_process(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(forms, "_known", {})


@pytest.mark.parametrize(
    ("release", "best"),
    [((10, 3), "python"), ((10, 8), "python"), ((10, 9), "ahead-of-time"), ((11, 4), "ahead-of-time")],
)
def test_the_best_of_a_release(release: tuple[int, int], best: str) -> None:
    assert choose_form(None, release) == best


@pytest.mark.parametrize("release", [(10, 3), (10, 16), (11, 4)])
@pytest.mark.parametrize("asked", ["python", "library", "host-launch"])
def test_a_form_that_is_asked_for(asked: str, release: tuple[int, int]) -> None:
    assert choose_form(asked, release) == asked


def test_ahead_of_time_needs_a_later_release() -> None:
    assert choose_form("ahead-of-time", (10, 9)) == "ahead-of-time"
    with pytest.raises(BackendError, match=r"^decode ahead-of-time needs TensorRT 10\.9 or later, and 10\.8 is ins"):
        choose_form("ahead-of-time", (10, 8))


def test_no_such_form() -> None:
    with pytest.raises(BackendError, match="'nms'; there are ahead-of-time, python, library, host-launch"):
        choose_form("nms", (10, 9))
    with pytest.raises(BackendError, match="'nms'; there are"):
        make_known("nms", b"PTX", TENSORRT)


CUBIN, PTX = (KernelImage("sm_89", (13, 5), kind) for kind in ("cubin", "ptx"))


def test_the_form_with_a_cubin_where_the_driver_refuses_the_ptx() -> None:
    form, image, instead = form_with_kernels("ahead-of-time", False, [CUBIN, PTX], (8, 9), (13, 0))
    assert (form, image) == ("python", CUBIN)
    assert instead == "python, not ahead-of-time: PTX by NVRTC 13.5 is refused by this driver of CUDA 13.0"
    assert form_with_kernels("ahead-of-time", False, [CUBIN, PTX], (8, 9), (13, 5)) == ("ahead-of-time", PTX, "")
    assert form_with_kernels("python", False, [CUBIN, PTX], (8, 9), (13, 0)) == ("python", CUBIN, "")
    with pytest.raises(BundleCompatibilityError, match=r"knows no release after 13\.0"):
        form_with_kernels("ahead-of-time", True, [CUBIN, PTX], (8, 9), (13, 0))
    with pytest.raises(BundleCompatibilityError, match=r"knows no release after 12\.6"):
        form_with_kernels("ahead-of-time", False, [CUBIN, PTX], (8, 9), (12, 6))


def test_forms_needed_at_run_time_are_forms() -> None:
    assert set(FORMS) > NEEDED_AT_RUN_TIME


def test_plugins_are_registered_once(monkeypatch: pytest.MonkeyPatch) -> None:
    registered: list[bytes] = []
    monkeypatch.setattr(ahead_of_time, "register", registered.append)
    make_known("host-launch", b"", TENSORRT)
    make_known("ahead-of-time", b"PTX", TENSORRT)
    make_known("ahead-of-time", b"PTX", TENSORRT)
    make_known("host-launch", b"", TENSORRT)
    assert registered == [b"PTX"]
    with pytest.raises(BackendError, match=r"has decode ahead-of-time already.* with the kernels of another GPU in a"):
        make_known("ahead-of-time", b"other PTX", TENSORRT)
    with pytest.raises(BackendError, match=r"has decode ahead-of-time already.*run decode python in a process of its"):
        make_known("python", b"PTX", TENSORRT)
    assert registered == [b"PTX"]


def test_a_failed_registration_is_not_remembered(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(_: bytes) -> None:
        raise BackendError("no")

    monkeypatch.setattr(ahead_of_time, "register", fail)
    with pytest.raises(BackendError, match=r"^no$"):
        make_known("ahead-of-time", b"PTX", TENSORRT)
    assert forms._known == {}


class Streams:
    """A driver's library that takes the streams of others, or not."""

    def __init__(self, takes: bool) -> None:
        self.takes, self.held = takes, 0

    def adopt_stream(self, stream: object) -> int:
        if not self.takes:
            raise TypeError("not one of mine")
        self.held += 1
        return 1

    def disown_stream(self, stream: int) -> None:
        self.held -= 1


def test_python_plugins_need_a_library_that_takes_foreign_streams() -> None:
    """TensorRT passes a handle, which pycuda cannot use; known before the build, not at its end."""
    streams = Streams(True)
    forms.check_streams(streams)  # type: ignore[arg-type]
    assert streams.held == 0
    with pytest.raises(BackendError, match="which pycuda cannot use: pip install cuda-bindings, or build"):
        forms.check_streams(Streams(False))  # type: ignore[arg-type]


def test_of_the_drivers_libraries_only_one_takes_them(emulated: Emulated, library: str) -> None:
    driver = open_driver(library)
    if library == "cuda-bindings":
        forms.check_streams(driver)
    else:
        with pytest.raises(BackendError, match="pycuda"):
            forms.check_streams(driver)
