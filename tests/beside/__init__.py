"""droplan beside other programs, the real ones, with knocks from all sides.

    script/test beside      what every commit is held to
    script/test nightly     more of the same

That each of these would show a fault was seen with 1.0.0: build it from its tag (``script/build`` in a worktree of
v1.0.0), then ``pytest tests/beside -m "not nightly" --old THAT/dist/droplan.pyz``, which demands that whatever is
marked ``was_open`` was open.
"""
