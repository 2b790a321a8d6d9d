def calibrate() -> None:
    """x"""
