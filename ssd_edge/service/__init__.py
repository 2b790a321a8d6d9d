"""What an operator needs of a loop that runs for months: one file, reload, metrics, health, logs, systemd."""
