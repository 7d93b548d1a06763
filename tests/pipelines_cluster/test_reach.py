import pytest

from elec.errors import InputError
from elec.spec import Spec
from pipelines.reach import check_reach

WORKSPACE = "s3://bucket/elec"


def spec(source="s3://bucket/log.parquet", items=None, **run):
    dataset = {
        "name": "films",
        "source": {"path": source},
        "label": {"column": "click"},
        "timestamp": {"column": "time"},
        "user": "user_id",
        "item": "item_id",
    }
    if items:
        dataset["tables"] = {"items": {"path": items}}
        dataset["fields"] = [{"name": "title", "of": "item"}]
    return Spec.model_validate({"dataset": dataset, "run": {"feast": {"online_store": "redis", "redis": "redis:6379"}, **run}})


def test_what_is_on_s3_and_in_redis_can_be_reached():
    check_reach(spec(items="s3://bucket/items.parquet"), WORKSPACE)


@pytest.mark.parametrize(
    ("wrong", "workspace", "reason"),
    [
        (spec(), "runs", "--workspace runs"),
        (spec(source="/data/log.csv"), WORKSPACE, "source.path of films is /data/log.csv"),
        (spec(items="/data/items.csv"), WORKSPACE, "tables.items.path of films is /data/items.csv"),
        (spec(feast={"online_store": "sqlite"}), WORKSPACE, "online_store is sqlite"),
        (spec(llm={"name": "/models/mine"}), WORKSPACE, "run.llm.name is /models/mine"),
    ],
)
def test_what_is_on_this_machine_is_named(wrong, workspace, reason):
    with pytest.raises(InputError, match=reason):
        check_reach(wrong, workspace)
