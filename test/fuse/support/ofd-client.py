"""ofd-client FILE: takes an open-file-description lock, closes that descriptor while another stays open, and sees what
another open may lock: prints `refused` or `locked` before the close, and after it."""
import fcntl, os, struct, sys, time

LIMIT_S = 5
OFD_SETLK = 37


def lock(fd):
    try:
        fcntl.fcntl(fd, OFD_SETLK, struct.pack("hhqqi4x", fcntl.F_WRLCK, os.SEEK_SET, 0, 10, 0))
        return "locked"
    except OSError:
        return "refused"


first = os.open(sys.argv[1], os.O_RDWR | os.O_CREAT)
copy = os.dup(first)
other = os.open(sys.argv[1], os.O_RDWR)
print(lock(first), lock(other))
os.close(first)
print(lock(other))
os.close(copy)
# The kernel tells of the last close after it has returned.
until = time.monotonic() + LIMIT_S
while (result := lock(other)) != "locked" and time.monotonic() < until:
    time.sleep(0.01)
print(result)
