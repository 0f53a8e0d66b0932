"""The processes of this machine and the workers of a Ray cluster do the same jobs with the same results."""

import sys

import engine_jobs as jobs
import pytest
from ray_support import WORKERS

from tempohand.data.parallel_jobs import need_all, open_engine
from tempohand.data.ray_engine import AHEAD, RayEngine


@pytest.fixture(params=["local", pytest.param("ray", marks=pytest.mark.slow)])
def engine(request):
    if request.param == "ray":
        request.getfixturevalue("ray_cluster")
    return open_engine(request.param, WORKERS)


def test_every_job_is_done_once(engine):
    done = list(engine.map(jobs.square, [(number,) for number in range(7)]))
    assert sorted(done) == [((number,), number**2) for number in range(7)]
    assert list(engine.map(jobs.square, [])) == []


def test_a_job_is_done_where_it_was_given_in_one_thread(engine, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert list(engine.map(jobs.place_and_threads, [()])) == [((), (str(tmp_path), 1, 1))]


def test_a_lost_worker_s_job_is_done_again(engine, tmp_path):
    mark = tmp_path / "mark"
    done = engine.map(jobs.die_at_first, [(mark, number) for number in range(5)])
    assert sorted(number for _, number in done) == list(range(5)) and mark.exists()


def test_what_came_before_a_loss_comes_once(engine, tmp_path):
    done = engine.map(jobs.die_later, [(tmp_path / "mark", number) for number in range(3)])
    assert sorted(number for _, number in done) == [0, 1, 2]


def test_work_that_costs_every_worker_is_given_up(engine):
    with pytest.raises(ChildProcessError, match="a worker was lost 3 times"):
        list(engine.map(jobs.die, [()]))


def test_a_job_s_own_error_is_raised_as_it_is(engine):
    with pytest.raises(ValueError) as caught:
        list(engine.map(jobs.fail, [(number,) for number in range(4)]))
    assert type(caught.value) is ValueError and str(caught.value) == "number 2 is of no use"


@pytest.mark.slow
@pytest.mark.parametrize(("most", "ahead"), [(3, 3), (None, AHEAD * WORKERS)])
def test_jobs_are_handed_out_as_there_is_room(ray_cluster, most, ahead):
    taken = []
    given = ((number,) for number in range(20) if taken.append(number) is None)
    for count, _ in enumerate(RayEngine(most).map(jobs.square, given), 1):
        assert len(taken) <= ahead + count - 1
    assert count == len(taken) == 20


def test_an_unknown_engine_and_a_folder_that_is_not_shared_are_named(tmp_path, monkeypatch):
    with pytest.raises(ValueError, match="`engine` is local or ray, not 'spark'"):
        open_engine("spark")
    for name in ("local", "ray"):
        with pytest.raises(ValueError, match="processes=0"):
            open_engine(name, 0)
    with pytest.raises(FileNotFoundError, match="all machines must share its folder"):
        need_all([tmp_path / "train-00000.arrow"])
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(ValueError, match=r"pip install 'tempohand\[ray\]'"):
        next(RayEngine().map(jobs.square, [(1,)]))
