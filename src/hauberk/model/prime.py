"""Prime numbers: the sizes that Maglev's table may have."""


def is_prime(number: int) -> bool:
    """Whether `number`, of some millions at most, is a prime."""
    return number >= 2 and all(number % one for one in range(2, int(number**0.5) + 1))
