"""Messages of 10 KB to measure with: the same on every run, no two alike."""

import random

ORDINARY = 4000
"""Words that make up the text; each occurs in most messages."""

RARE_EVERY = 200
"""Every so many messages one has the word RARE in its body."""

RARE = "quokkas"
SIZE = 10_000


def vocabulary(dice: random.Random) -> list[str]:
    syllables = [a + b for a in "bcdfghklmnprstvw" for b in "aeiou"]
    return ["".join(dice.choices(syllables, k=dice.randint(1, 4))) for _ in range(ORDINARY)]


def messages(count: int, seed: int = 1) -> list[bytes]:
    dice = random.Random(seed)
    words = vocabulary(dice)
    return [_message(number, dice, words) for number in range(count)]


def _message(number: int, dice: random.Random, words: list[str]) -> bytes:
    day, hour = 1 + number % 28, number % 24
    subject = " ".join(dice.choices(words, k=5))
    header = (
        f"From: {dice.choice(words).title()} <{dice.choice(words)}@example.org>\r\n"
        f"To: Bench <bench@example.com>\r\nSubject: {subject} {number}\r\n"
        f"Date: {day} Nov 2026 {hour:02}:00:00 +0000\r\n"
        f"Message-ID: <{number}@bench.example.org>\r\n"
        "MIME-Version: 1.0\r\nContent-Type: text/plain; charset=utf-8\r\n\r\n"
    )
    lines: list[str] = []
    size = len(header)
    if number % RARE_EVERY == 0:
        lines.append(f"the {RARE} of message {number}\r\n")
    while size < SIZE:
        line = " ".join(dice.choices(words, k=10)) + "\r\n"
        lines.append(line)
        size += len(line)
    return (header + "".join(lines)).encode()
