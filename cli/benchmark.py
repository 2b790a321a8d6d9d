def benchmark() -> None:
    """x"""
