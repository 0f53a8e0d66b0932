"""Orders and constants of the skeleton agree with each other."""

from tempohand.skeleton import (
    BONES,
    FINGERS,
    JOINT_NAMES,
    MANO21_TO_OP,
    MANO_JOINT_NAMES,
    MANO_PARENTS,
    PARENTS,
    TIP_VERTICES,
)


def test_the_gather_brings_each_joint_to_its_name():
    stored = [*MANO_JOINT_NAMES, *(f"{finger}_tip" for finger in FINGERS)]
    assert tuple(stored[place] for place in MANO21_TO_OP) == JOINT_NAMES


def test_both_trees_have_the_same_bones():
    of_mano = {
        (MANO_JOINT_NAMES[parent], name)
        for parent, name in zip(MANO_PARENTS, MANO_JOINT_NAMES)
        if parent >= 0
    }
    of_all = {(JOINT_NAMES[parent], name) for parent, name in zip(PARENTS, JOINT_NAMES) if parent >= 0}
    assert of_mano == {bone for bone in of_all if not bone[1].endswith("tip")}
    assert len(BONES) == len(JOINT_NAMES) - 1


def test_fingertips_of_other_code_bases_differ_as_documented():
    """The lists of the code bases themselves, as differences: from smplx's to manopth's and FreiHAND's, from
    FreiHAND's to HO-3D's."""

    def difference(here, there):
        return [b - a for a, b in zip(TIP_VERTICES[here], TIP_VERTICES[there])]

    assert TIP_VERTICES["smplx"] == (744, 320, 443, 554, 671)
    assert difference("smplx", "manopth") == [1, -3, 1, 2, 2]
    assert difference("smplx", "freihand") == [0, 0, 0, 1, 1]
    assert difference("freihand", "ho3d") == [0, 13, 1, 0, 0]
