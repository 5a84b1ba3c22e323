"""Text from files that nobody vouches for, made fit for a terminal or a log.

A name in a package may hold escape sequences that rewrite the terminal, marks that turn the reading direction, line separators
that fake a second message, or characters that cannot be seen. All of these are shown as Python writes them in a literal: `\\x1b`,
`\\u202e`. What is left is text that stands still where it is printed.
"""

from __future__ import annotations

# Characters that str.isprintable() lets pass, and that draw nothing or a blank: fillers, joiners, variation selectors.
_INVISIBLE = frozenset(
    chr(point)
    for first, last in (
        (0x034F, 0x034F), (0x115F, 0x1160), (0x17B4, 0x17B5), (0x180B, 0x180F), (0x2800, 0x2800), (0x3164, 0x3164),
        (0xFE00, 0xFE0F), (0xFFA0, 0xFFA0), (0xE0100, 0xE01EF),
    )
    for point in range(first, last + 1)
)  # fmt: skip


def _escaped(character: str) -> str:
    if character.isprintable() and character not in _INVISIBLE:
        return character
    point = ord(character)
    return f"\\x{point:02x}" if point < 0x100 else f"\\u{point:04x}" if point < 0x10000 else f"\\U{point:08x}"


def escaped(text: str, keep: str = "") -> str:
    """`text` without anything that a terminal would act on. Characters of `keep` ("\\n\\t") stay."""
    if text.isascii() and text.isprintable():
        return text
    return "".join(character if character in keep else _escaped(character) for character in text)


def shown(text: str, most: int = 200) -> str:
    """`text` on one line, escaped, and cut off after `most` characters."""
    return escaped(text) if len(text) <= most else f"{escaped(text[:most])}... ({len(text):,} characters)"
