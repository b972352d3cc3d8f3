"""What a mistake would do to a model."""


def consequences(function):
    raise NotImplementedError
