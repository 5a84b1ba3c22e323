"""Why a module of sys.stdlib_module_names is not in the image."""

_REASONS = {
    "it is of Windows": ("_msi", "_overlapped", "_winapi", "_wmi", "msilib", "msvcrt", "nt", "winreg", "winsound"),
    "it is of macOS": ("_scproxy",),
    "it is of iOS": ("_ios_support",),
    "it is of Android": ("_android_support",),
    "interpreters inside a host program have no graphical tools": ("_tkinter", "idlelib", "tkinter", "turtle", "turtledemo"),
    "it opens a web browser when it is imported": ("antigravity",),
    "packages come from the Environment's site_packages; nothing is installed from inside": ("ensurepip",),
}

# The system library without which CPython's build leaves an extension module out.
_LIBRARIES = {
    "_bz2": "libbz2",
    "_crypt": "libcrypt",
    "_ctypes": "libffi",
    "_curses": "libncursesw",
    "_curses_panel": "libpanelw",
    "_dbm": "libdb or libgdbm_compat",
    "_gdbm": "libgdbm",
    "_hashlib": "libcrypto",
    "_lzma": "liblzma",
    "_sqlite3": "libsqlite3",
    "_ssl": "libssl",
    "_uuid": "libuuid",
    "nis": "libnsl",
    "readline": "libreadline",
    "zlib": "libz",
}


def reason(name):
    for text, names in _REASONS.items():
        if name in names:
            return text
    library = _LIBRARIES.get(name)
    return "the embedded Python was built without it" + (f", for want of {library}" if library else "")
