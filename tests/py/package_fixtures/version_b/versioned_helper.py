def suffix():
    return ", helped by b"
