"""Random calls on files, each on two file systems at once: fsx.py FOLDER SHADOW SEED CALLS [KIND]

After the idea of Apple's fsx: writes, reads, truncations, mapped and direct access, holes, several descriptors, renames
over each other, unlinking while open. What a call gives must be the same for the file in FOLDER and the one in SHADOW, and
so must all bytes be at the end. KIND `database` has the files begin like a SQLite database and its companions, so that
whoever looks at such files has to do with bytes of any sort. Ends with the last calls before the first difference.
"""
import errno
import mmap
import os
import random
import sys

MAX_BYTES = 600_000
PAGE = 4096
OPEN_AT_MOST = 6
LAST_CALLS = 40

folder, shadow, seed, calls = sys.argv[1], sys.argv[2], int(sys.argv[3]), int(sys.argv[4])
database = len(sys.argv) > 5 and sys.argv[5] == "database"
NAMES = ["x.db", "x.db-wal", "x.db-journal", "x.db-shm", "y.db"] if database else ["a", "b", "c"]
HEADS = [
    b"SQLite format 3\x00\x10\x00\x01\x01\x00\x40\x20\x20" + bytes(76),
    bytes.fromhex("377f0682002de21800001000") + bytes(20),
    bytes.fromhex("d9d505f920a163d7") + bytes(20),
]

choose = random.Random(seed)
history = []


class Differs(Exception):
    pass


def both(what, call):
    """The same on both sides; what each gave, which must be the same."""
    history.append(what)
    found = []
    for side in (0, 1):
        try:
            found.append(call(side))
        except OSError as error:
            found.append(errno.errorcode.get(error.errno, error.errno))
    if found[0] != found[1]:
        raise Differs(f"{what}: {shown(found[0])} instead of {shown(found[1])}\n{where(found)}")
    return found[0]


def shown(value):
    return f"{len(value)} bytes" if isinstance(value, bytes) else repr(value)


def where(found):
    a, b = found
    if not isinstance(a, bytes) or not isinstance(b, bytes):
        return ""
    at = next((i for i in range(min(len(a), len(b))) if a[i] != b[i]), min(len(a), len(b)))
    return f"first at byte {at}: {a[at:at + 16].hex()} instead of {b[at:at + 16].hex()}"


def path(side, name):
    return f"{(folder, shadow)[side]}/{name}"


class Open:
    """A file that is open on both sides."""

    def __init__(self, name, flags, words):
        self.name = name
        self.fds = [os.open(path(side, name), flags, 0o644) for side in (0, 1)]
        self.direct = bool(flags & os.O_DIRECT)
        history.append(f"open {name} {words} as {self.fds[0]}")

    def __str__(self):
        return f"{self.name}({self.fds[0]})"

    def size(self):
        return os.fstat(self.fds[1]).st_size

    def close(self):
        history.append(f"close {self}")
        for fd in self.fds:
            os.close(fd)


opened = []


def range_of(file, most):
    """A position and a length: at edges of pages more often than elsewhere."""
    size = file.size()
    at = choose.choice([0, size, choose.randrange(MAX_BYTES), choose.randrange(size + 1), PAGE * choose.randrange(MAX_BYTES // PAGE)])
    length = choose.choice([1, 24, 100, 512, PAGE - 1, PAGE, PAGE + 24, choose.randrange(1, most)])
    if file.direct:
        at, length = at // PAGE * PAGE, max(PAGE, length // PAGE * PAGE)
    return at, length


def data_of(length, aligned):
    data = choose.choice([bytes(length), choose.randbytes(length)])
    if not aligned:
        return data
    page = mmap.mmap(-1, length)
    page.write(data)
    return page


def write(file):
    at, length = range_of(file, 80_000)
    head = not file.direct and database and choose.random() < 0.2
    data = choose.choice(HEADS) + bytes(PAGE - 100) if head else data_of(length, file.direct)
    at = 0 if head else at
    both(f"write {file} {len(data)} at {at}", lambda side: os.pwrite(file.fds[side], data, at))


def read(file):
    at, length = range_of(file, 200_000)

    def call(side):
        if not file.direct:
            return os.pread(file.fds[side], length, at)
        page = mmap.mmap(-1, length)
        return page[:os.preadv(file.fds[side], [page], at)]

    both(f"read {file} {length} at {at}", call)


def resize(file):
    size = choose.choice([0, choose.randrange(MAX_BYTES), choose.randrange(file.size() + 1), file.size() // PAGE * PAGE])
    both(f"truncate {file} to {size}", lambda side: os.ftruncate(file.fds[side], size))


def resize_by_name(file):
    size = choose.randrange(MAX_BYTES)
    both(f"truncate {file.name} to {size} by name", lambda side: os.truncate(path(side, file.name), size))


def allocate(file):
    at, length = range_of(file, 80_000)
    both(f"allocate {file} {length} at {at}", lambda side: os.posix_fallocate(file.fds[side], at, length))


def mapped(file):
    size = file.size()
    if size == 0:
        return
    writes = choose.random() < 0.6
    start = choose.randrange((size - 1) // PAGE + 1) * PAGE
    length = min(size - start, choose.randrange(1, 20 * PAGE))
    at = choose.randrange(length)
    data = choose.randbytes(min(length - at, choose.randrange(1, 3 * PAGE)))
    flushed = choose.random() < 0.5

    def call(side):
        with mmap.mmap(file.fds[side], length, offset=start) as view:
            if writes:
                view[at : at + len(data)] = data
            if flushed:
                view.flush()
            return view[:]

    both(f"map {file} {length} at {start}{f', write {len(data)} at {at}' if writes else ''}", call)


def look(file):
    def call(side):
        s = os.fstat(file.fds[side])
        return s.st_size, s.st_mode, s.st_nlink

    both(f"stat {file}", call)


def sync(file):
    both(f"fsync {file}", lambda side: os.fsync(file.fds[side]))


def append(file):
    data = choose.randbytes(choose.randrange(1, 5000))

    def call(side):
        fd = os.open(path(side, file.name), os.O_WRONLY | os.O_APPEND)
        try:
            return os.write(fd, data), os.write(fd, data[:7]), os.lseek(fd, 0, os.SEEK_CUR)
        finally:
            os.close(fd)

    if file.size() < MAX_BYTES:
        both(f"append to {file.name} {len(data)}", call)


def copy(file):
    other = choose.choice(opened)
    at, length = range_of(file, 50_000)
    to = choose.randrange(MAX_BYTES)
    if other.fds == file.fds or other.direct or file.direct:
        return

    def call(side):
        data = os.pread(file.fds[side], length, at)
        return os.pwrite(other.fds[side], data, to)

    both(f"copy {file} {length} at {at} to {other} at {to}", call)


def is_refused(name):
    """Whether the name cannot go away: a database's -wal or -shm that is open, which is EBUSY here (docs/limits.md)."""
    if not name.endswith(("-wal", "-shm")) or not os.path.exists(path(1, name)):
        return False
    file = os.stat(path(1, name)).st_ino
    return any(os.fstat(each.fds[1]).st_ino == file for each in opened)


def rename(_):
    a, b = choose.choice(NAMES), choose.choice(NAMES)
    if is_refused(b):
        return
    both(f"rename {a} to {b}", lambda side: os.rename(path(side, a), path(side, b)))


def unlink(_):
    name = choose.choice(NAMES)
    if is_refused(name):
        return
    both(f"unlink {name}", lambda side: os.unlink(path(side, name)))


def content(name):
    def call(side):
        with open(path(side, name), "rb") as file:
            return file.read()

    return both(f"read all of {name}", call)


def reopen(_):
    if opened and (len(opened) >= OPEN_AT_MOST or choose.random() < 0.4):
        opened.pop(choose.randrange(len(opened))).close()
    else:
        words, flags = choose.choice([("", 0), ("O_TRUNC", os.O_TRUNC), ("", 0), ("O_DIRECT", os.O_DIRECT), ("O_SYNC", os.O_SYNC)])
        opened.append(Open(choose.choice(NAMES), os.O_RDWR | os.O_CREAT | flags, words))


def compare(_):
    name = choose.choice(NAMES)
    content(name)


CALLS = [
    (write, 30), (read, 25), (mapped, 12), (resize, 8), (resize_by_name, 2), (allocate, 3), (look, 6), (sync, 2), (append, 5),
    (copy, 5), (rename, 2), (unlink, 2), (reopen, 10), (compare, 2),
]  # fmt: skip


def run():
    for _ in range(calls):
        if not opened:
            reopen(None)
        if opened:
            call = choose.choices([c for c, _ in CALLS], [w for _, w in CALLS])[0]
            call(choose.choice(opened))
    while opened:
        opened.pop().close()
    for name in NAMES:
        content(name)


try:
    run()
except Differs as difference:
    print("\n".join(history[-LAST_CALLS:]))
    print(f"seed {seed}, call {len(history)}: {difference}")
    sys.exit(1)
print(f"{len(history)} calls, seed {seed}: no difference")
