"""Damaged bytes: flipped, replaced, cut out, put in, doubled, zeroed, missing at the end."""

import random


def befall_bytes(draw: random.Random, content: bytes, damages: list[str], first: int = 0, last: int | None = None) -> bytes:
    """Bytes that are flipped, cut out, put in, doubled, zeroed or missing at the end.

    Args:
        draw: Of chance.
        content: The bytes.
        damages: Takes what was done.
        first: Where the damage may begin.
        last: Where it ends at the latest.
    """
    damaged = bytearray(content)
    for _ in range(draw.choice((1, 1, 2, 5, 40))):
        end = len(damaged) if last is None else min(last, len(damaged))
        if end <= first:
            break
        at, size = draw.randrange(first, end), draw.choice((1, 1, 2, 8, 100, 1_000))
        what = draw.choice(("flipped", "flipped", "replaced", "cut", "inserted", "doubled", "zeroed", "truncated"))
        damages.append(f"bytes: {what}")
        if what == "flipped":
            damaged[at] ^= 1 << draw.randrange(8)
        elif what == "replaced":
            damaged[at] = draw.choice((0, 10, 13, 34, 44, 92, 127, 128, 255))
        elif what == "cut":
            del damaged[at : at + size]
        elif what == "inserted":
            damaged[at:at] = draw.randbytes(size)
        elif what == "doubled":
            damaged[at:at] = damaged[at : at + size]
        elif what == "zeroed":
            damaged[at : at + size] = bytes(len(damaged[at : at + size]))
        elif draw.random() < 0.3:
            del damaged[at:]
    return bytes(damaged)
