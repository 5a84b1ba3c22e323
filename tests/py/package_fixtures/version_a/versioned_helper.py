def suffix():
    return ", helped by a"
