from tests.cameras import make_detector, no_thread_is_left

__all__ = ["make_detector", "no_thread_is_left"]
