"""Which axes each level halves: the finest first, no short ones, and none more often than its size allows."""

from __future__ import annotations

import pytest
from MedDeepLib.errors import UserError
from SegmentModuleLib.worker.topology import chosen_topology, from_words, in_words, isotropic


def layout(size, spacing, levels=0, at_half=False, given=False, strides=()) -> tuple[str, str]:
    given = [given] * len(size) if isinstance(given, bool) else given
    chosen = chosen_topology(size, given, spacing, levels, at_half, strides)
    return in_words(chosen.strides), in_words(chosen.kernels)


def strides(*arguments, **options) -> str:
    return layout(*arguments, **options)[0]


def test_cubic_voxels_are_halved_along_all_axes_until_four_are_left():
    assert layout((128, 128, 128), (1, 1, 1)) == (
        "1x1x1, 2x2x2, 2x2x2, 2x2x2, 2x2x2, 2x2x2",
        ", ".join(["3x3x3"] * 6),
    )
    assert strides((127, 127, 127), (1, 1, 1)) == strides((128, 128, 128), (1, 1, 1)), "it may be rounded up"


def test_a_short_axis_is_left_alone():
    assert strides((64, 64, 15), (1, 1, 1)) == "1x1x1, 2x2x2, 2x2x2, 2x2x1, 2x2x1"
    assert strides((64, 64, 7), (1, 1, 1)) == "1x1x1, 2x2x1, 2x2x1, 2x2x1, 2x2x1"


def test_thick_slices_wait_until_the_other_axes_are_as_coarse():
    found = layout((256, 256, 20), (0.5, 0.5, 5.0))
    assert found == (
        "1x1x1, 2x2x1, 2x2x1, 2x2x1, 2x2x2, 2x2x2, 2x2x1",
        "3x3x1, 3x3x1, 3x3x1, 3x3x3, 3x3x3, 3x3x3, 3x3x3",
    )


def test_twice_as_coarse_still_waits_and_less_does_not():
    assert layout((64, 64, 32), (1, 1, 2))[0].startswith("1x1x1, 2x2x1, 2x2x2")
    assert layout((64, 64, 32), (1, 1, 2))[1].startswith("3x3x1, 3x3x3")
    assert layout((64, 64, 32), (1, 1, 1.9)) == (
        "1x1x1, 2x2x2, 2x2x2, 2x2x2, 2x2x1",
        ", ".join(["3x3x3"] * 5),
    )


def test_the_coarse_axis_may_be_any():
    assert layout((20, 256, 256), (5.0, 0.5, 0.5))[0].startswith("1x1x1, 1x2x2, 1x2x2, 1x2x2, 2x2x2")


def test_half_the_resolution_begins_with_the_fine_axes():
    assert layout((64, 64, 64), (1, 1, 1), at_half=True) == (
        "2x2x2, 2x2x2, 2x2x2, 2x2x2",
        ", ".join(["3x3x3"] * 4),
    )
    assert layout((64, 64, 12), (1, 1, 3), at_half=True) == (
        "2x2x1, 2x2x2, 2x2x1, 2x2x1",
        "3x3x3, 3x3x3, 3x3x3, 3x3x3",
    )


def test_slices_have_two_axes():
    assert layout((64, 32), (1, 1)) == ("1x1, 2x2, 2x2, 2x2, 2x1", "3x3, 3x3, 3x3, 3x3, 3x3")


def test_there_are_three_resolutions_at_least_and_eight_at_most():
    assert strides((9, 5, 6), (1, 1, 1)) == "1x1x1, 2x1x1, 1x2x2"
    assert len(strides((5000, 5000), (1, 1)).split(", ")) == 8


def test_a_given_depth_is_kept():
    assert strides((128, 128, 128), (1, 1, 1), levels=3) == "1x1x1, 2x2x2, 2x2x2"
    assert len(strides((16, 16, 16), (1, 1, 1), levels=6).split(", ")) == 6


def test_a_given_size_is_halved_while_it_is_even():
    assert strides((48, 40, 18), (1, 1, 1), given=True) == "1x1x1, 2x2x2, 2x2x1, 2x2x1"
    assert strides((48, 40, 18), (1, 1, 1), given=[True, True, False]) == "1x1x1, 2x2x2, 2x2x2, 2x2x1"
    with pytest.raises(UserError, match="A patch of 50 x 50 x 50 cannot be halved 2 times.*in multiples of 4"):
        strides((50, 50, 50), (1, 1, 1), given=True)
    with pytest.raises(UserError, match="cannot be halved 5 times"):
        strides((48, 48, 48), (1, 1, 1), given=True, levels=5, at_half=True)
    with pytest.raises(UserError, match="cannot be halved"):
        strides((49, 49, 49), (1, 1, 1), given=True, at_half=True)


def test_kernels_follow_strides_that_are_given():
    given = ((1, 1, 1), (2, 2, 1), (2, 2, 1), (2, 2, 1))
    assert layout((64, 64, 8), (1, 1, 3), levels=4, strides=given) == (
        "1x1x1, 2x2x1, 2x2x1, 2x2x1",
        "3x3x1, 3x3x3, 3x3x3, 3x3x3",
    )


def test_what_one_voxel_of_the_coarsest_resolution_covers():
    assert chosen_topology((256, 256, 20), [False] * 3, (0.5, 0.5, 5.0), 0, False).steps == (64, 64, 4)
    assert isotropic(5, 3, True).steps == (32, 32, 32) and isotropic(3, 2, False).steps == (4, 4)


def test_words_and_back():
    entries = ((1, 1, 1), (2, 2, 1))
    assert from_words(in_words(entries), "strides", 3, (1, 2)) == entries
    assert from_words(" 2X2 ; 1x2 ", "strides", 2, (1, 2)) == ((2, 2), (1, 2))
    for text in ("2x2x2x", "x2x2", "2x2x-1", "two", "2"):
        with pytest.raises(UserError, match="strides needs 3 numbers"):
            from_words(text, "strides", 3, (1, 2))
