"""The files in serving/: their syntax, by TensorFlow Serving's own messages, and their paths."""

import json
import re
import shlex
import subprocess
from pathlib import Path, PurePosixPath

import pytest
import yaml
from google.protobuf import descriptor_pb2, descriptor_pool, message_factory, text_format
from google.protobuf import wrappers_pb2 as wrappers
from places import REPOSITORY
from tensorflow_serving.config import model_server_config_pb2

from gcn_keras.inference import serving_client
from gcn_keras.recipes import command_line

SERVING = REPOSITORY / "serving"

Field = descriptor_pb2.FieldDescriptorProto


def message_class(name: str, messages: dict[str, list[tuple]], imports=()):
    """The class of a message that tensorflow-serving-api does not hold.

    Args:
        name: of the class to return.
        messages: fields (name, number, type, is repeated) of this and others in its file; a type
            is a number, or the full name of a message.
        imports: files that it imports.
    """
    file = descriptor_pb2.FileDescriptorProto(
        name=f"{name}.proto", package="tensorflow.serving", syntax="proto3", dependency=imports
    )
    for message, fields in messages.items():
        descriptor = file.message_type.add(name=message)
        for field, number, kind, is_repeated in fields:
            label = Field.LABEL_REPEATED if is_repeated else Field.LABEL_OPTIONAL
            added = descriptor.field.add(name=field, number=number, label=label)
            if isinstance(kind, str):
                added.type, added.type_name = Field.TYPE_MESSAGE, kind
            else:
                added.type = kind
    pool = descriptor_pool.DescriptorPool()
    pool.AddSerializedFile(wrappers.DESCRIPTOR.serialized_pb)
    pool.Add(file)
    return message_factory.GetMessageClass(pool.FindMessageTypeByName(f"tensorflow.serving.{name}"))


def batching_parameters():
    """As in tensorflow_serving/servables/tensorflow/session_bundle_config.proto."""
    number, text = ".google.protobuf.Int64Value", ".google.protobuf.StringValue"
    fields = [
        ("max_batch_size", 1, number, False),
        ("batch_timeout_micros", 2, number, False),
        ("max_enqueued_batches", 3, number, False),
        ("num_batch_threads", 4, number, False),
        ("thread_pool_name", 5, text, False),
        ("allowed_batch_sizes", 6, Field.TYPE_INT64, True),
        ("pad_variable_length_inputs", 7, Field.TYPE_BOOL, False),
    ]
    imports = [wrappers.DESCRIPTOR.name]
    return message_class("BatchingParameters", {"BatchingParameters": fields}, imports)


def monitoring_config():
    """As in tensorflow_serving/config/monitoring_config.proto."""
    prometheus = [("enable", 1, Field.TYPE_BOOL, False), ("path", 2, Field.TYPE_STRING, False)]
    fields = [("prometheus_config", 1, ".tensorflow.serving.PrometheusConfig", False)]
    messages = {"PrometheusConfig": prometheus, "MonitoringConfig": fields}
    return message_class("MonitoringConfig", messages)


def parsed(name: str, message):
    return text_format.Parse((SERVING / name).read_text(), message)


@pytest.fixture(scope="module")
def service() -> dict:
    """The one service of the compose file."""
    [service] = yaml.safe_load((SERVING / "docker-compose.yml").read_text())["services"].values()
    return service


@pytest.fixture(scope="module")
def docker_run() -> list[str]:
    """The arguments of the README's docker line."""
    lines = (SERVING / "README.md").read_text().splitlines()
    [line] = [line for line in lines if line.startswith("    docker run ")]
    return shlex.split(line.replace("$PWD", str(SERVING.parent)))[2:]


def mounts(volumes: list[str], base: Path) -> dict[str, Path]:
    """The folder behind each path in the container."""
    split = [volume.split(":") for volume in volumes]
    assert all(access == "ro" for _, _, access in split)
    return {inside: (base / outside).resolve() for outside, inside, _ in split}


def test_batching():
    """One request of the client must fit a batch; strings are not padded."""
    parameters = parsed("batching.config", batching_parameters()())
    assert parameters.max_batch_size.value == serving_client.REQUEST_IMAGES
    assert parameters.batch_timeout_micros.value == 2000
    assert parameters.max_enqueued_batches.value == 64
    assert parameters.num_batch_threads.value == 2
    assert not parameters.allowed_batch_sizes and not parameters.pad_variable_length_inputs


def test_the_parser_refuses_what_is_no_field():
    with pytest.raises(text_format.ParseError, match="no field named .*max_batch"):
        text_format.Parse("max_batch { value: 8 }", batching_parameters()())


def test_monitoring():
    prometheus = parsed("monitoring.config", monitoring_config()()).prometheus_config
    assert prometheus.enable
    assert prometheus.path == "/monitoring/prometheus/metrics"
    assert f"http://localhost:8501{prometheus.path}" in (SERVING / "README.md").read_text()


def test_models(service):
    config = parsed("models.config", model_server_config_pb2.ModelServerConfig())
    [model] = config.model_config_list.config
    assert (model.name, model.model_platform) == ("shapes", "tensorflow")
    path = PurePosixPath(model.base_path)
    assert str(path.parent) in mounts(service["volumes"], SERVING)
    assert path.name == model.name


def test_compose(service):
    # As tensorflow-serving-api in requirements.txt: no other version has the same operations.
    (version,) = re.findall(
        r"^tensorflow-serving-api==(\S+)", (REPOSITORY / "requirements.txt").read_text(), re.M
    )
    assert service["image"] == f"tensorflow/serving:{version}"
    assert service["ports"] == ["127.0.0.1:8500:8500", "127.0.0.1:8501:8501"]
    folders = mounts(service["volumes"], SERVING)
    assert folders == {"/models": SERVING.parent / "saved_models", "/config": SERVING}
    assert all(folder.is_dir() for folder in folders.values())


def test_the_server_may_do_no_more_than_it_must(service):
    assert service["user"].split(":") == ["65534", "65534"]  # nobody
    assert service["read_only"] is True and service["tmpfs"] == ["/tmp"]
    assert service["cap_drop"] == ["ALL"] and "cap_add" not in service
    assert service["security_opt"] == ["no-new-privileges:true"]
    assert (service["mem_limit"], service["cpus"], service["pids_limit"]) == ("10g", 4, 512)
    assert "privileged" not in service and "network_mode" not in service


def test_every_file_that_the_server_is_given_exists(service):
    folders = mounts(service["volumes"], SERVING)
    files = dict(flag.removeprefix("--").split("=") for flag in service["command"] if "=" in flag)
    assert set(files) == {
        "model_config_file",
        "batching_parameters_file",
        "monitoring_config_file",
    }
    for file in map(PurePosixPath, files.values()):
        assert (folders[str(file.parent)] / file.name).is_file()


def test_the_docker_line_says_the_same(service, docker_run):
    image = docker_run.index(service["image"])
    options, flags = docker_run[:image], docker_run[image + 1 :]
    assert options[:2] == ["--rm", "--read-only"] and service["read_only"] is True
    pairs = list(zip(options[2::2], options[3::2], strict=True))
    said = {name: value for name, value in pairs if name.startswith("--")}
    assert said == {
        "--tmpfs": service["tmpfs"][0],
        "--user": service["user"],
        "--cap-drop": service["cap_drop"][0],
        "--security-opt": service["security_opt"][0],
        "--memory": service["mem_limit"],
        "--cpus": str(service["cpus"]),
        "--pids-limit": str(service["pids_limit"]),
    }
    assert [value for option, value in pairs if option == "-p"] == service["ports"]
    volumes = [value for option, value in pairs if option == "-v"]
    assert mounts(volumes, Path("/")) == mounts(service["volumes"], SERVING)
    assert flags == service["command"]


@pytest.fixture(scope="module")
def training_job() -> dict[str, dict]:
    """What training-job.yml declares, by kind."""
    documents = list(yaml.safe_load_all((SERVING / "training-job.yml").read_text()))
    assert len(documents) == 3
    return {document["kind"]: document for document in documents}


def test_nobody_but_the_jobs_own_pods_reaches_a_worker(training_job):
    labels = {"job-name": training_job["Job"]["metadata"]["name"]}  # set by Kubernetes
    policy = training_job["NetworkPolicy"]["spec"]
    assert policy["podSelector"] == {"matchLabels": labels}
    assert policy["policyTypes"] == ["Ingress"]
    assert policy["ingress"] == [{"from": [{"podSelector": {"matchLabels": labels}}]}]


def test_a_training_pod_may_do_no_more_than_it_must(training_job):
    spec = training_job["Job"]["spec"]["template"]["spec"]
    assert spec["automountServiceAccountToken"] is False
    assert spec["securityContext"]["runAsNonRoot"] is True
    assert spec["securityContext"]["runAsUser"] > 0 and spec["securityContext"]["fsGroup"] > 0
    assert spec["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
    (container,) = spec["containers"]
    assert container["image"] == "IMAGE@sha256:DIGEST"  # a tag can be moved, a digest cannot
    assert container["securityContext"] == {
        "allowPrivilegeEscalation": False,
        "readOnlyRootFilesystem": True,
        "capabilities": {"drop": ["ALL"]},
    }
    assert container["resources"]["limits"] == {
        "cpu": "8",
        "memory": "32Gi",
        "nvidia.com/gpu": 1,
    }
    # What is written outside of the shared folder goes to a volume of its own.
    mounts = {mount["name"]: mount["mountPath"] for mount in container["volumeMounts"]}
    assert mounts == {"shared": "/shared", "scratch": "/tmp"}
    assert {"name": "HOME", "value": "/tmp"} in container["env"]
    assert {volume["name"] for volume in spec["volumes"]} == set(mounts)


def test_the_training_job_describes_the_cluster_to_each_pod(training_job):
    """Runs the shell line of the Job, with Kubernetes' variable, in place of the training."""
    service, job = training_job["Service"], training_job["Job"]
    spec = job["spec"]["template"]["spec"]
    assert service["metadata"]["name"] == spec["subdomain"] == job["metadata"]["name"]
    assert job["spec"]["completions"] == job["spec"]["parallelism"] == 2
    (container,) = spec["containers"]
    script, command = container["args"][0].split("exec ")
    options = command.replace("\\\n", " ").split()
    assert options[:3] == ["python", "-m", "gcn_keras.fit"]
    recipe = command_line.parse(options[3:])
    assert recipe.resume and recipe.out.startswith(container["volumeMounts"][0]["mountPath"])
    for index in range(2):
        said = subprocess.run(
            [*container["command"], script + 'echo "$TF_CONFIG"'],
            env={"JOB_COMPLETION_INDEX": str(index)},
            capture_output=True,
            text=True,
            check=True,
        )
        cluster = json.loads(said.stdout)
        assert cluster["task"] == {"type": "worker", "index": index}
        assert cluster["cluster"]["worker"] == [
            f"{job['metadata']['name']}-{i}.{spec['subdomain']}:2222" for i in range(2)
        ]
