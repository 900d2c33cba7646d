"""Does to files what POSIX has words for, and prints what each call gave: fs-cases.py FOLDER [STEP]

Every operation meets every kind of file, as root and as two other users: one line each, with the errno and with what
changed in the folder. Then sequences of calls. Run on two file systems, the lines that differ are what differs between
them. With a STEP only every so-manieth meeting takes place. Needs root; FOLDER must be empty, and lie where anybody may go.
"""
import ctypes
import errno
import fcntl
import mmap
import os
import socket
import stat
import sys

OWNER, OTHER = 65534, 65533
GROUP = 4321
LONG = "n" * 255
TOO_LONG = "n" * 256
NOT_UTF8 = b"caf\xe9 \xff\xfe.db".decode("utf8", "surrogateescape")
OLD_S = 1_000_000_000
libc = ctypes.CDLL(None, use_errno=True)


def fail():
    number = ctypes.get_errno()
    raise OSError(number, os.strerror(number))


def renameat2(a, b, flags):
    if libc.renameat2(-100, os.fsencode(a), -100, os.fsencode(b), flags) != 0:
        fail()


def fallocate(fd, mode, offset, length):
    if libc.fallocate(fd, mode, ctypes.c_int64(offset), ctypes.c_int64(length)) != 0:
        fail()


def listxattr(path):
    return sorted(name for name in os.listxattr(path) if name.startswith("user."))


def outcome(action):
    try:
        return action()
    except OSError as error:
        return errno.errorcode.get(error.errno, error.errno)


class As:
    """The rest of the block as another user."""

    def __init__(self, uid):
        self.uid = uid

    def __enter__(self):
        if self.uid == 0:
            return
        os.setgroups([])
        os.setegid(self.uid)
        os.seteuid(self.uid)

    def __exit__(self, *_):
        os.seteuid(0)
        os.setegid(0)


# --- every operation on every kind of file ---------------------------------------------------------------------------


def put(path, mode, uid, text="text"):
    fd = os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600)
    os.write(fd, text.encode())
    os.fchmod(fd, mode)
    os.close(fd)
    os.chown(path, uid, uid)
    os.chmod(path, mode)


def folder(path, mode, uid, gid=None):
    os.mkdir(path)
    os.chown(path, uid, uid if gid is None else gid)
    os.chmod(path, mode)


SCENE = [
    ("file", lambda p: put(p, 0o644, OWNER)),
    ("readonly", lambda p: put(p, 0o444, OWNER)),
    ("private", lambda p: put(p, 0o600, 0)),
    ("setuid", lambda p: put(p, 0o6755, OWNER)),
    ("shared", lambda p: put(p, 0o666, 0)),
    ("folder", lambda p: folder(p, 0o755, OWNER)),
    ("full", lambda p: (folder(p, 0o755, OWNER), put(p + "/child", 0o644, OWNER))),
    ("closed", lambda p: (folder(p, 0o700, 0), put(p + "/child", 0o666, OWNER))),
    ("locked", lambda p: (folder(p, 0o555, OWNER), put(p + "/child", 0o644, OWNER))),
    ("sticky", lambda p: (folder(p, 0o1777, 0), put(p + "/mine", 0o666, OWNER), put(p + "/theirs", 0o666, OTHER))),
    ("group", lambda p: folder(p, 0o2777, 0, GROUP)),
    ("link", lambda p: os.symlink("file", p)),
    ("folderlink", lambda p: os.symlink("folder", p)),
    ("dangling", lambda p: os.symlink("nowhere", p)),
    ("loop", lambda p: os.symlink("loop", p)),
]

PATHS = [
    "file", "readonly", "private", "setuid", "shared", "folder", "full", "full/child", "closed", "closed/child",
    "closed/new", "locked", "locked/child", "locked/new", "sticky", "sticky/mine", "sticky/theirs", "sticky/new",
    "group/new", "link", "folderlink", "folderlink/new", "dangling", "loop", "loop/new", "new", "new/", "folder/",
    "file/", "missing/new", "file/new", "folder/.", "folder/..", ".", "", LONG, TOO_LONG, "folder/" + LONG,
    "folder/" + TOO_LONG, "a/" * 2100 + "new", NOT_UTF8,
]


def opened(path, flags, mode=0o640):
    fd = os.open(path, flags, mode)
    try:
        return f"{os.fstat(fd).st_size} bytes"
    finally:
        os.close(fd)


def written(path, flags):
    fd = os.open(path, flags, 0o640)
    try:
        return os.write(fd, b"WRITTEN")
    finally:
        os.close(fd)


def bound(path):
    with socket.socket(socket.AF_UNIX) as unix:
        unix.bind(path)


READS = [
    ("open to read", lambda p: opened(p, os.O_RDONLY)),
    ("open to write", lambda p: opened(p, os.O_WRONLY)),
    ("open both", lambda p: opened(p, os.O_RDWR)),
    ("open nofollow", lambda p: opened(p, os.O_RDONLY | os.O_NOFOLLOW)),
    ("open folder", lambda p: opened(p, os.O_RDONLY | os.O_DIRECTORY) and None),
    ("open path", lambda p: os.close(os.open(p, os.O_PATH))),
    ("readlink", os.readlink),
    ("stat", lambda p: oct(os.stat(p).st_mode)),
    ("lstat", lambda p: oct(os.lstat(p).st_mode)),
    ("may read", lambda p: os.access(p, os.R_OK, effective_ids=True)),
    ("may write", lambda p: os.access(p, os.W_OK, effective_ids=True)),
    ("may run", lambda p: os.access(p, os.X_OK, effective_ids=True)),
    ("list", lambda p: sorted(os.listdir(p))),
    ("chdir", lambda p: (os.chdir(p), os.fchdir(top))[2:]),
    ("getxattr", lambda p: os.getxattr(p, "user.x")),
    ("listxattr", listxattr),
    ("name limit", lambda p: os.pathconf(p, "PC_NAME_MAX")),
]

CHANGES = [
    ("open create", lambda p: opened(p, os.O_RDWR | os.O_CREAT)),
    ("open exclusive", lambda p: opened(p, os.O_RDWR | os.O_CREAT | os.O_EXCL)),
    ("open truncate", lambda p: opened(p, os.O_WRONLY | os.O_TRUNC)),
    ("open create truncate", lambda p: opened(p, os.O_RDWR | os.O_CREAT | os.O_TRUNC)),
    ("write", lambda p: written(p, os.O_WRONLY)),
    ("append", lambda p: written(p, os.O_WRONLY | os.O_APPEND)),
    ("mkdir", lambda p: os.mkdir(p, 0o750)),
    ("rmdir", os.rmdir),
    ("unlink", os.unlink),
    ("mkfifo", lambda p: os.mkfifo(p, 0o644)),
    ("mknod file", lambda p: os.mknod(p, 0o644 | stat.S_IFREG)),
    ("mknod device", lambda p: os.mknod(p, 0o644 | stat.S_IFCHR, os.makedev(1, 3))),
    ("mknod socket", lambda p: os.mknod(p, 0o644 | stat.S_IFSOCK)),
    ("bind", bound),
    ("symlink", lambda p: os.symlink("some/where", p)),
    ("link from", lambda p: os.link(p, "folder/linked", follow_symlinks=False)),
    ("link to", lambda p: os.link("file", p)),
    ("rename from", lambda p: os.rename(p, "moved")),
    ("rename file to", lambda p: os.rename("file", p)),
    ("rename folder to", lambda p: os.rename("folder", p)),
    ("rename full to", lambda p: os.rename("full", p)),
    ("rename link to", lambda p: os.rename("link", p)),
    ("rename noreplace to", lambda p: renameat2("file", p, 1)),
    ("rename exchange", lambda p: renameat2("file", p, 2)),
    ("rename whiteout", lambda p: renameat2("file", p, 4)),
    ("rename unknown flag", lambda p: renameat2("file", p, 64)),
    ("chmod", lambda p: os.chmod(p, 0o604)),
    ("chmod setgid", lambda p: os.chmod(p, 0o2777)),
    ("chmod sticky", lambda p: os.chmod(p, 0o1777)),
    ("chown", lambda p: os.chown(p, OTHER, OTHER)),
    ("chown to itself", lambda p: os.chown(p, OWNER, OWNER)),
    ("chown group", lambda p: os.chown(p, -1, OWNER)),
    ("lchown", lambda p: os.lchown(p, OTHER, OTHER)),
    ("truncate", lambda p: os.truncate(p, 2)),
    ("truncate up", lambda p: os.truncate(p, 100_000)),
    ("truncate below 0", lambda p: os.truncate(p, -1)),
    ("utimens", lambda p: os.utime(p, (1, 2))),
    ("utimens now", lambda p: os.utime(p)),
    ("utimens link", lambda p: os.utime(p, (1, 2), follow_symlinks=False)),
    ("setxattr", lambda p: os.setxattr(p, "user.x", b"1")),
    ("removexattr", lambda p: os.removexattr(p, "user.x")),
]


def shape():
    """What is in the folder: kind and mode, owner, size, links, whether its times are the old ones."""
    found = {}
    for where, folders, files in os.walk("."):
        for name in [".", *folders, *files] if where == "." else folders + files:
            path = os.path.normpath(os.path.join(where, name))
            s = os.lstat(path)
            size = "" if stat.S_ISDIR(s.st_mode) else f" {s.st_size} bytes {s.st_nlink} links"
            target = f" -> {os.readlink(path)}" if stat.S_ISLNK(s.st_mode) else ""
            touched = "" if s.st_mtime == OLD_S else f" {int(s.st_mtime)}" if s.st_mtime < OLD_S else " now"
            found[path] = f"{s.st_mode:o} {s.st_uid}:{s.st_gid}{size}{target}{touched}"
    return found


def build():
    os.chown(".", 0, 0)
    os.chmod(".", 0o777)
    for name, make in SCENE:
        make(name)
    for where, folders, files in os.walk("."):
        for name in folders + files:
            os.utime(os.path.join(where, name), (OLD_S, OLD_S), follow_symlinks=False)
    os.utime(".", (OLD_S, OLD_S))


def clear(top):
    for _, folders, files, fd in os.fwalk(top, topdown=False):
        for name in files:
            os.unlink(name, dir_fd=fd)
        for name in folders:
            linked = stat.S_ISLNK(os.stat(name, dir_fd=fd, follow_symlinks=False).st_mode)
            (os.unlink if linked else os.rmdir)(name, dir_fd=fd)


def show(text):
    return ascii(text).replace(LONG, "LONG").replace("a/" * 2100, "DEEP/")


def matrix(step):
    clear(home)
    build()
    before = shape()
    meetings = [(o, p, uid) for o in READS + CHANGES for p in PATHS for uid in (0, OWNER, OTHER)]
    for (name, operate), path, uid in meetings[::step]:
        with As(uid):
            result = outcome(lambda: operate(path))
        after = before if (name, operate) in READS else shape()
        changes = [f"-{show(p)}" for p in before if p not in after]
        changes += [f"{show(p)}: {after[p]}" for p in sorted(after) if before.get(p) != after[p]]
        print(f"{name} {show(path)} as {uid}: {show(result)} {'; '.join(changes)}".rstrip())
        if changes:
            clear(home)
            build()
            os.chdir(home)


# --- sequences -------------------------------------------------------------------------------------------------------

SEQUENCES = []


def sequence(action):
    SEQUENCES.append(action)
    return action


def content(path):
    with open(path, "rb") as file:
        return file.read()


@sequence
def unlinked_while_open():
    fd = os.open("x", os.O_RDWR | os.O_CREAT, 0o644)
    os.write(fd, b"hello")
    os.unlink("x")
    yield os.fstat(fd).st_nlink, os.pread(fd, 10, 0)
    os.ftruncate(fd, 2)
    os.fchmod(fd, 0o600)
    os.fchown(fd, OWNER, OWNER)
    os.utime(fd, (5, 6))
    s = os.fstat(fd)
    yield s.st_size, oct(s.st_mode), s.st_uid, int(s.st_mtime)
    yield outcome(lambda: os.open(f"/proc/self/fd/{fd}", os.O_RDONLY) > 0)
    yield outcome(lambda: os.link(f"/proc/self/fd/{fd}", "back", follow_symlinks=True))
    yield os.listdir(".")
    os.close(fd)


@sequence
def replaced_while_open():
    put("a", 0o644, 0, "old")
    put("b", 0o644, 0, "new")
    fd = os.open("a", os.O_RDWR)
    os.rename("b", "a")
    yield os.pread(fd, 10, 0), content("a"), os.fstat(fd).st_nlink
    os.pwrite(fd, b"OLD", 0)
    yield os.pread(fd, 10, 0), content("a")
    os.close(fd)


@sequence
def folder_removed_while_open():
    os.mkdir("d")
    fd = os.open("d", os.O_RDONLY)
    os.chdir("d")
    os.rmdir("../d")
    yield outcome(lambda: os.open("x", os.O_CREAT | os.O_WRONLY)), outcome(lambda: os.mkdir("y"))
    yield outcome(lambda: os.listdir(".")), outcome(lambda: os.getcwd()), outcome(lambda: os.fstat(fd).st_nlink)
    os.chdir(home)
    os.close(fd)


@sequence
def folder_renamed_while_open():
    os.makedirs("d/e")
    put("d/e/f", 0o644, 0)
    fd = os.open("d/e/f", os.O_RDWR)
    os.chdir("d/e")
    os.rename(f"{home}/d", f"{home}/moved")
    yield content("f"), os.path.relpath(os.getcwd(), home), os.pwrite(fd, b"more", 4), content(f"{home}/moved/e/f")
    os.chdir(home)
    os.close(fd)


@sequence
def appends_of_two():
    a = os.open("x", os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)
    b = os.open("x", os.O_WRONLY | os.O_APPEND)
    for n in range(5):
        os.write(a, b"a" * n)
        os.write(b, b"b" * n)
    os.pwrite(a, b"at 0?", 0)
    yield content("x"), os.lseek(a, 0, os.SEEK_CUR)
    os.truncate("x", 3)
    os.write(a, b"end")
    yield content("x")
    os.close(a)
    os.close(b)


@sequence
def exclusive_and_temporary():
    yield outcome(lambda: os.open("x", os.O_CREAT | os.O_EXCL | os.O_RDWR) > 0)
    yield outcome(lambda: os.open("x", os.O_CREAT | os.O_EXCL | os.O_RDWR))
    os.symlink("nowhere", "l")
    yield outcome(lambda: os.open("l", os.O_CREAT | os.O_EXCL | os.O_RDWR))
    yield outcome(lambda: os.open("l", os.O_CREAT | os.O_RDWR) > 0), sorted(os.listdir("."))


@sequence
def no_name_at_all():
    yield outcome(lambda: os.open(".", os.O_TMPFILE | os.O_RDWR, 0o600) > 0)


@sequence
def direct():
    fd = os.open("x", os.O_RDWR | os.O_CREAT | os.O_DIRECT, 0o644)
    page = mmap.mmap(-1, 4096)
    page.write(b"d" * 4096)
    yield os.write(fd, page), os.pwrite(fd, page, 8192), os.fstat(fd).st_size
    yield os.preadv(fd, [page], 4096), page[:4]
    yield content("x")[:3], content("x")[4096:4099], content("x")[8192:8195]
    os.close(fd)


@sequence
def direct_beside_cached():
    cached = os.open("x", os.O_RDWR | os.O_CREAT, 0o644)
    os.write(cached, b"c" * 8192)
    yield os.pread(cached, 3, 4096)
    direct = os.open("x", os.O_RDWR | os.O_DIRECT)
    page = mmap.mmap(-1, 4096)
    page.write(b"D" * 4096)
    os.pwrite(direct, page, 4096)
    yield os.pread(cached, 3, 4096)
    os.pwrite(cached, b"x", 4096)
    os.preadv(direct, [page], 4096)
    yield page[:3]
    os.close(direct)
    os.close(cached)


@sequence
def seeking():
    fd = os.open("x", os.O_RDWR | os.O_CREAT, 0o644)
    os.pwrite(fd, b"end", 100_000)
    yield os.lseek(fd, 0, os.SEEK_END), os.lseek(fd, -3, os.SEEK_CUR), os.read(fd, 10)
    yield outcome(lambda: os.lseek(fd, -1, os.SEEK_SET)), os.lseek(fd, 200_000, os.SEEK_SET), os.read(fd, 1)
    yield outcome(lambda: os.lseek(fd, 100_003, os.SEEK_DATA)), outcome(lambda: os.lseek(fd, 0, 99))
    yield os.lseek(fd, 100_001, os.SEEK_DATA), os.lseek(fd, 100_001, os.SEEK_HOLE)
    os.close(fd)


@sequence
def holes_are_found():
    fd = os.open("x", os.O_RDWR | os.O_CREAT, 0o644)
    os.pwrite(fd, b"end", 1_000_000)
    yield os.lseek(fd, 0, os.SEEK_HOLE), os.lseek(fd, 0, os.SEEK_DATA) >= 900_000
    yield os.fstat(fd).st_blocks < 100
    os.close(fd)


@sequence
def allocation():
    fd = os.open("x", os.O_RDWR | os.O_CREAT, 0o644)
    yield outcome(lambda: os.posix_fallocate(fd, 0, 100_000)), os.fstat(fd).st_size
    yield outcome(lambda: os.posix_fallocate(fd, 10, 10)), os.fstat(fd).st_size
    yield outcome(lambda: os.posix_fallocate(fd, 0, 0)), outcome(lambda: fallocate(fd, 0, -1, 5))
    yield content("x") == bytes(100_000)
    os.close(fd)


@sequence
def allocation_modes():
    fd = os.open("x", os.O_RDWR | os.O_CREAT, 0o644)
    os.write(fd, b"x" * 65536)
    for mode, name in [(1, "keep size"), (3, "punch"), (8, "collapse"), (16, "zero"), (32, "insert"), (64, "unshare")]:
        yield name, outcome(lambda: fallocate(fd, mode, 0, 4096)), os.fstat(fd).st_size
    os.close(fd)


@sequence
def mapped():
    fd = os.open("x", os.O_RDWR | os.O_CREAT, 0o644)
    os.ftruncate(fd, 10_000)
    with mmap.mmap(fd, 10_000) as view:
        view[0:5] = b"hello"
        view[9_000:9_005] = b"there"
        os.pwrite(fd, b"J", 0)
        yield view[0:5], os.pread(fd, 5, 9_000)
        view.flush()
    yield content("x")[:5], content("x")[9_000:9_005]
    os.close(fd)


@sequence
def mapped_private():
    put("x", 0o644, 0, "shared text")
    fd = os.open("x", os.O_RDONLY)
    with mmap.mmap(fd, 11, flags=mmap.MAP_PRIVATE, prot=mmap.PROT_READ | mmap.PROT_WRITE) as view:
        view[0:6] = b"SHARED"
        yield view[:], content("x")
    os.close(fd)


@sequence
def limits():
    fd = os.open("x", os.O_RDWR | os.O_CREAT, 0o644)
    yield outcome(lambda: os.pwrite(fd, b"x", -1)), outcome(lambda: os.pread(fd, 1, -1))
    yield outcome(lambda: os.pwrite(fd, b"x", 1 << 62)), outcome(lambda: os.ftruncate(fd, 1 << 62))
    yield outcome(lambda: os.ftruncate(fd, 1 << 43)), os.fstat(fd).st_size
    yield os.pread(fd, 1, (1 << 43) - 1), os.pread(fd, 1, 1 << 43)
    yield os.pwrite(fd, b"far", (1 << 42) + 5), os.pread(fd, 3, (1 << 42) + 5)
    os.close(fd)
    os.symlink("t" * 4000, "long")
    yield len(os.readlink("long")), outcome(lambda: os.symlink("t" * 4096, "longer"))


@sequence
def names_of_all_sorts():
    names = [LONG, NOT_UTF8, "\u4f60\u597d", "\U0001f6b0", "a\tb\nc\\d\"'", " ", "-rf", "...", "~", "%2F", "a:b", "A", "a"]
    names += [bytes([n]).decode("utf8", "surrogateescape") for n in range(1, 256) if n != 0x2F and n != 0x2E]
    names = sorted(set(names))
    for name in names:
        put(name, 0o644, 0, ascii(name))
    yield sorted(os.listdir(".")) == names, all(content(n) == ascii(n).encode() for n in names)
    for name in names:
        os.rename(name, "x" + name[:200])
    yield sorted(os.listdir(".")) == sorted("x" + n[:200] for n in names)
    os.mkdir(NOT_UTF8)
    os.symlink(NOT_UTF8 + "/t", NOT_UTF8 + "/l")
    put(NOT_UTF8 + "/f", 0o644, 0, "below")
    os.rename(NOT_UTF8, "renamed")
    yield ascii(os.readlink("renamed/l")), content("renamed/f"), sorted(os.listdir("renamed"))


@sequence
def names_over_the_limit():
    yield outcome(lambda: put("n" * 256, 0o644, 0)), outcome(lambda: os.mkdir("\u4f60" * 86))
    yield outcome(lambda: put("\u4f60" * 85, 0o644, 0))


@sequence
def set_id_bits_go_when_written():
    for uid in (0, OWNER):
        name = f"x{uid}"
        put(name, 0o6777, OWNER)
        with As(uid):
            fd = os.open(name, os.O_WRONLY)
            os.write(fd, b"x")
            yield oct(os.fstat(fd).st_mode)
            os.close(fd)
        put(name + "t", 0o6777, OWNER)
        with As(uid):
            os.truncate(name + "t", 1)
            yield oct(os.stat(name + "t").st_mode)
        put(name + "c", 0o6777, OWNER)
        with As(uid):
            yield outcome(lambda: os.chown(name + "c", OWNER, OWNER)), oct(os.stat(name + "c").st_mode)


@sequence
def umask_and_groups():
    os.mkdir("g")
    os.chown("g", 0, GROUP)
    os.chmod("g", 0o2777)
    before = os.umask(0o027)
    with As(OWNER):
        fd = os.open("g/f", os.O_CREAT | os.O_RDWR, 0o2777)
        os.close(fd)
        os.mkdir("g/d", 0o777)
        os.symlink("t", "g/l")
        for name in ("f", "d", "l"):
            s = os.lstat("g/" + name)
            yield name, oct(s.st_mode), s.st_uid, s.st_gid
    os.umask(before)


@sequence
def times():
    put("x", 0o644, 0)
    for wanted in [(0, 0), (1, 2), (2**31, 2**32), (-5, -7), (253_402_300_799, 1)]:
        os.utime("x", wanted)
        s = os.stat("x")
        yield int(s.st_atime), int(s.st_mtime)
    os.utime("x", ns=(1_600_000_000_500_000_000, 1_600_000_000_250_000_000))
    yield os.stat("x").st_mtime_ns, os.stat("x").st_atime_ns
    before = os.stat("x").st_ctime_ns
    os.chmod("x", 0o600)
    yield os.stat("x").st_ctime_ns >= before, os.stat("x").st_mtime_ns


@sequence
def times_to_the_microsecond():
    put("x", 0o644, 0)
    for n in range(200):
        atime, mtime = 1_700_000_000_000_000_000 + n * 1_234_567_891_000, 100_000_000_000_000_000 + n * 100_001_000
        os.utime("x", ns=(atime, mtime))
        s = os.stat("x")
        if (s.st_atime_ns, s.st_mtime_ns) != (atime, mtime):
            yield atime, s.st_atime_ns, mtime, s.st_mtime_ns
    os.truncate("x", 1)
    os.utime("x", ns=(1, 2_000))
    yield os.stat("x").st_mtime_ns
    put("y", 0o644, 0)
    kept = os.stat("y").st_mtime_ns // 1_000_000
    libc.utimensat(-100, b"y", (ctypes.c_int64 * 4)(5, 0, 0, 0x3FFFFFFE), 0)
    yield os.stat("y").st_atime_ns, os.stat("y").st_mtime_ns // 1_000_000 == kept


@sequence
def times_to_the_nanosecond():
    put("x", 0o644, 0)
    os.utime("x", ns=(1_600_000_000_123_456_789, 1_600_000_000_987_654_321))
    yield os.stat("x").st_atime_ns, os.stat("x").st_mtime_ns


@sequence
def reading_sets_a_time():
    put("x", 0o644, 0)
    os.utime("x", (1, 2))
    content("x")
    yield os.stat("x").st_atime > 1


@sequence
def folders_deep_and_full():
    path = "."
    for n in range(60):
        path += f"/folder-{n:02}"
        os.mkdir(path)
    put(path + "/leaf", 0o644, 0)
    yield content(path + "/leaf"), len(path)
    os.rename("folder-00", "moved")
    yield content(path.replace("folder-00", "moved") + "/leaf")
    os.mkdir("many")
    for n in range(300):
        put(f"many/{n}", 0o644, 0, "")
    seen = 0
    with os.scandir("many") as entries:
        for entry in entries:
            os.unlink(entry.path)
            seen += 1
    yield seen, os.listdir("many")


@sequence
def deeper_than_a_path_may_be_long():
    for n in range(20):
        os.mkdir("d" * 250)
        os.chdir("d" * 250)
    put("leaf", 0o644, 0)
    yield content("leaf")
    os.chdir(home)


@sequence
def locks():
    a = os.open("x", os.O_RDWR | os.O_CREAT, 0o644)
    fcntl.lockf(a, fcntl.LOCK_EX | fcntl.LOCK_NB, 10, 0)
    child = os.fork()
    if child == 0:
        b = os.open("x", os.O_RDWR)
        code = 0
        if outcome(lambda: fcntl.lockf(b, fcntl.LOCK_SH | fcntl.LOCK_NB, 1, 5)) != "EAGAIN":
            code |= 1
        if outcome(lambda: fcntl.lockf(b, fcntl.LOCK_EX | fcntl.LOCK_NB, 1, 10)) is not None:
            code |= 2
        os._exit(code)
    yield os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    b = os.open("x", os.O_RDWR)
    fcntl.flock(a, fcntl.LOCK_EX | fcntl.LOCK_NB)
    yield outcome(lambda: fcntl.flock(b, fcntl.LOCK_EX | fcntl.LOCK_NB))
    os.close(a)
    yield outcome(lambda: fcntl.flock(b, fcntl.LOCK_EX | fcntl.LOCK_NB))
    os.close(b)


@sequence
def leftovers_of_a_closed_handle():
    put("x", 0o644, 0, "abc")
    fd = os.open("x", os.O_RDONLY)
    yield outcome(lambda: os.write(fd, b"x")), outcome(lambda: os.ftruncate(fd, 0))
    os.close(fd)
    fd = os.open("x", os.O_WRONLY)
    yield outcome(lambda: os.read(fd, 1))
    os.chmod("x", 0o000)
    yield os.write(fd, b"still"), os.fsync(fd), os.fdatasync(fd)
    os.close(fd)
    with As(OWNER):
        yield outcome(lambda: os.open("x", os.O_RDONLY))


@sequence
def copying():
    put("x", 0o644, 0, "y" * 200_000)
    a, b = os.open("x", os.O_RDONLY), os.open("z", os.O_WRONLY | os.O_CREAT, 0o644)
    left = 200_000
    while left > 0:
        left -= os.copy_file_range(a, b, left)
    os.lseek(a, 0, os.SEEK_SET)
    yield os.sendfile(b, a, 0, 100) > 0, os.fstat(b).st_size
    os.close(a)
    os.close(b)


@sequence
def space():
    s = os.statvfs(".")
    yield s.f_namemax, s.f_bsize, s.f_blocks > 0, s.f_bavail <= s.f_bfree <= s.f_blocks, s.f_ffree <= s.f_files


def run_sequence(action):
    clear(home)
    at = 0
    try:
        for at, found in enumerate(action()):
            print(f"{action.__name__} {at}: {show(found)}")
    except OSError as error:
        print(f"{action.__name__}, after {at}: {errno.errorcode.get(error.errno, error.errno)}")
    os.chdir(home)


home = os.path.realpath(sys.argv[1])
os.umask(0o022)
os.chdir(home)
top = os.open(home, os.O_RDONLY)
matrix(int(sys.argv[2]) if len(sys.argv) > 2 else 1)
for each in SEQUENCES:
    run_sequence(each)
clear(home)
