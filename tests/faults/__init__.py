"""What holds when processes die, disks fill and servers vanish."""
