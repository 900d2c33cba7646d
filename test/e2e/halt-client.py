"""halt-client DATABASE COUNT: as litefs-go's WithHalt: opens the lock file, takes the HALT lock and waits for it, writes, and
gives it back. Says `halted`, how many rows there are in the end, and `unhalted`."""
import fcntl, os, sqlite3, struct, sys

OFD_SETLKW = 38
HALT_BYTE = 72


def lock(fd, kind):
    fcntl.fcntl(fd, OFD_SETLKW, struct.pack("hhqqi4x", kind, os.SEEK_SET, HALT_BYTE, 1, 0))


path, count = sys.argv[1], int(sys.argv[2])
fd = os.open(path + "-lock", os.O_RDWR)
lock(fd, fcntl.F_WRLCK)
print("halted", flush=True)
db = sqlite3.connect(path, timeout=5, isolation_level=None)
for n in range(count):
    db.execute("INSERT INTO t (who, seq) VALUES ('python', ?)", (n,))
print(db.execute("SELECT count(*) FROM t").fetchone()[0], flush=True)
db.close()
lock(fd, fcntl.F_UNLCK)
print("unhalted", flush=True)
os.close(fd)
