"""The CloudFormation template: linted, created on an AWS that moto plays, its user data run.

What moto leaves out when it creates a stack (attributes of balancers, outgoing rules, scaling, the
rules of parameters) is held in the template itself. The user data is read back from the launch
template, so what runs here is, byte for byte, what an instance would be given.
"""

from __future__ import annotations

import ast
import base64
import json
import re
import shlex
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any
from uuid import uuid4

import boto3
import httpx
import pytest
import yaml

from service.process.settings import Settings
from tests import docker
from tests.conftest import ROOT
from tests.ports import PATIENCE, free_ports, listens, wait_until
from tests.serving import MALIGNANT
from tests.tools import tool

FOLDER = ROOT / "deploy" / "ec2"
TEMPLATE = FOLDER / "template.yaml"
EXAMPLE = FOLDER / "parameters.example.json"
REGION = "eu-west-1"
ACCOUNT = "123456789012"  # moto's
ECR = f"{ACCOUNT}.dkr.ecr.{REGION}.amazonaws.com"
INSTANCE = "i-0123456789abcdef0"
PASSWORD = "the-password-of-the-registry"  # noqa: S105, made up
KEYS = ("first-key-0123456789", "second-key-0123456789")
ROTATED = "rotated-key-0123456789"
FULL = {
    "Image": f"{ECR}/team/cairn@sha256:{'0' * 64}",
    "ModelUri": "s3://models/cairn/a.bentomodel",
    "ModelSha256": "a" * 64,
    "ApiKeysParameter": "/cairn/api-keys",
    "KmsKeyArn": f"arn:aws:kms:{REGION}:{ACCOUNT}:key/0123",
    "KeyName": "people",
    "Scheme": "internet-facing",
    "Settings": "LOG_LEVEL=warning MAX_ROWS=100",
    "Workers": "3",
    "MinSize": "1",
}
SHELL = {
    "ssm:UpdateInstanceInformation",
    *(
        f"ssmmessages:{verb}{kind}Channel"
        for verb in ("Create", "Open")
        for kind in ("Control", "Data")
    ),
}
ALWAYS = {
    ("ecr:GetAuthorizationToken", "*"),
    ("elasticloadbalancing:DescribeTargetHealth", "*"),
}


class Loader(yaml.SafeLoader):
    """YAML with CloudFormation's short tags, which become what they are short for."""


def expanded(loader: yaml.SafeLoader, suffix: str, node: yaml.Node) -> dict[str, Any]:
    if isinstance(node, yaml.ScalarNode):
        value: Any = loader.construct_scalar(node)
    elif isinstance(node, yaml.SequenceNode):
        value = loader.construct_sequence(node, deep=True)
    else:
        raise TypeError(f"!{suffix} of a mapping")
    if suffix == "GetAtt":
        value = value.split(".")
    return {suffix if suffix in {"Ref", "Condition"} else f"Fn::{suffix}": value}


yaml.add_multi_constructor("!", expanded, Loader)


@cache
def template() -> dict[str, Any]:
    content = yaml.load(TEMPLATE.read_text(), Loader)  # noqa: S506, a SafeLoader
    assert isinstance(content, dict)
    return content


def properties(name: str) -> Any:
    """The properties of a resource of the template."""
    return template()["Resources"][name]["Properties"]


def attributes(name: str) -> dict[str, str]:
    """The attributes that the template gives a balancer or a target group."""
    [listed] = [value for key, value in properties(name).items() if key.endswith("Attributes")]
    return {item["Key"]: item["Value"] for item in listed}


# --- the template as it stands


def test_cfn_lint_has_nothing_to_say() -> None:
    linter = Path(sys.executable).with_name("cfn-lint")
    done = subprocess.run(
        [linter, "--regions", REGION, "us-east-1", "--", TEMPLATE],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


@pytest.mark.parametrize(
    ("parameter", "value"),
    [
        ("Image", f"{ECR}/cairn:0123456789ab-0123456789ab"),
        ("Image", f"{ECR}/team/cairn@sha256:{'0' * 64}"),
        ("Image", f"{ECR}/cairn:latest-but-one"),
        ("ModelUri", ""),
        ("ModelUri", "s3://my-models/cairn/2026-11-21/a+b.bentomodel"),
        ("ModelSha256", "0" * 64),
        ("Settings", ""),
        ("Settings", "LOG_LEVEL=debug MAX_BODY_BYTES=1048576"),
        ("ApiKeysParameter", "/cairn/api-keys"),
        ("ClientCidr", "10.0.0.0/8"),
        ("CertificateArn", f"arn:aws:acm:{REGION}:{ACCOUNT}:certificate/01-23"),
        ("KmsKeyArn", f"arn:aws-us-gov:kms:us-gov-west-1:{ACCOUNT}:key/mrk-01"),
        ("KeyName", "people"),
    ],
)
def test_a_value_that_is_allowed(parameter: str, value: str) -> None:
    assert allowed(parameter, value)


@pytest.mark.parametrize(
    ("parameter", "value"),
    [
        ("Image", "cairn:1.0"),
        ("Image", f"{ECR}/cairn"),
        ("Image", f"{ECR}/cairn:latest"),
        ("Image", f"{ECR}/cairn:1'; reboot; '"),
        ("ModelUri", "https://models/a"),
        ("ModelUri", "s3://models/"),
        ("ModelUri", "s3://models/*"),
        ("ModelUri", "s3://models/a'b"),
        ("ModelUri", "s3://models/a b"),
        ("ModelSha256", "A" * 64),
        ("ModelSha256", "a" * 63),
        ("Settings", "LOG_LEVEL"),
        ("Settings", "LOG_LEVEL=a  MAX_ROWS=1"),
        ("Settings", "LOG_LEVEL='$(reboot)'"),
        ("ApiKeysParameter", "keys"),
        ("ApiKeysParameter", "/cairn/*"),
        ("ClientCidr", ""),
        ("ClientCidr", "10.0.0.1"),
        ("CertificateArn", "www.example.org"),
        ("KmsKeyArn", f"arn:aws:kms:{REGION}:{ACCOUNT}:alias/mine"),
        ("KeyName", "it's"),
    ],
)
def test_a_value_that_is_refused(parameter: str, value: str) -> None:
    assert not allowed(parameter, value)


def allowed(parameter: str, value: str) -> bool:
    return (
        re.fullmatch(template()["Parameters"][parameter]["AllowedPattern"], value, re.ASCII)
        is not None
    )


def test_settings_takes_those_that_the_template_does_not_set_and_no_secret() -> None:
    names = {name for name in Settings.model_fields if allowed("Settings", f"{name.upper()}=1")}
    assert set(Settings.model_fields) - names == {
        "api_keys", "api_keys_file", "drain_seconds", "graceful_seconds", "keep_alive_seconds",
        "metrics_open", "model_sha256", "model_tag", "model_uri", "workers",
    }  # fmt: skip
    assert not allowed("Settings", "LOG_LEVEL=info PORT=80")


@pytest.mark.parametrize(
    ("parameters", "broken"),
    [
        ({}, set()),
        ({"ModelUri": "s3://b/k", "ModelSha256": "a" * 64}, set()),
        ({"KeyName": "people"}, set()),
        ({"ModelUri": "s3://b/k"}, {"ModelHasItsHash"}),
        ({"ModelSha256": "a" * 64}, {"HashHasItsModel"}),
        ({"KeyName": "people", "Shell": "none"}, {"KeyHasItsWayIn"}),
    ],
)
def test_parameters_that_belong_together(parameters: dict[str, str], broken: set[str]) -> None:
    content = template()
    values = {
        name: slot.get("Default") for name, slot in content["Parameters"].items()
    } | parameters
    errors = {
        name
        for name, rule in content["Rules"].items()
        if holds(rule["RuleCondition"], values)
        and not all(holds(item["Assert"], values) for item in rule["Assertions"])
    }
    assert errors == broken


def holds(condition: dict[str, Any], values: dict[str, Any]) -> bool:
    """What a condition comes to; it knows the two functions that ours are made of."""
    [(function, arguments)] = condition.items()
    if function == "Fn::Not":
        return not holds(arguments[0], values)
    assert function == "Fn::Equals"
    left, right = (values[item["Ref"]] if isinstance(item, dict) else item for item in arguments)
    return bool(left == right)


def test_the_example_gives_every_parameter_that_must_be_given() -> None:
    slots = template()["Parameters"]
    parameters = dict(line.split("=", 1) for line in json.loads(EXAMPLE.read_text()))
    assert (
        {name for name, slot in slots.items() if "Default" not in slot}
        <= set(parameters)
        <= set(slots)
    )
    assert all(
        allowed(name, value)
        for name, value in parameters.items()
        if "AllowedPattern" in slots[name]
    )


def test_every_parameter_says_what_it_is_and_has_a_place_in_the_console() -> None:
    content = template()
    groups = content["Metadata"]["AWS::CloudFormation::Interface"]["ParameterGroups"]
    listed = [name for group in groups for name in group["Parameters"]]
    assert sorted(listed) == sorted(content["Parameters"])
    assert all(slot["Description"] for slot in content["Parameters"].values())


def test_instances_send_to_https_only_and_the_balancer_to_them_only() -> None:
    [rule] = properties("InstanceSecurityGroup")["SecurityGroupEgress"]
    assert (rule["IpProtocol"], rule["FromPort"], rule["ToPort"]) == ("tcp", 443, 443)
    [rule] = properties("BalancerSecurityGroup")["SecurityGroupEgress"]
    assert (rule["IpProtocol"], rule["FromPort"], rule["ToPort"]) == ("tcp", 3000, 3000)
    assert rule["DestinationSecurityGroupId"] == {
        "Fn::GetAtt": ["InstanceSecurityGroup", "GroupId"]
    }


def test_an_update_keeps_every_instance_until_a_new_one_says_that_it_is_ready() -> None:
    group = template()["Resources"]["Group"]
    update = group["UpdatePolicy"]["AutoScalingRollingUpdate"]
    assert update["WaitOnResourceSignals"] is True
    assert update["MinSuccessfulInstancesPercent"] == 100
    assert update["MinInstancesInService"] == {"Ref": "MinSize"} == group["Properties"]["MinSize"]
    assert {"HealthCheck", "ReplaceUnhealthy", "AlarmNotification"} <= set(
        update["SuspendProcesses"]
    )
    assert group["CreationPolicy"]["ResourceSignal"]["Count"] == {"Ref": "MinSize"}
    assert "DesiredCapacity" not in group["Properties"]


def test_the_group_scales_by_processor_time() -> None:
    scaling = properties("Scaling")
    assert scaling["AutoScalingGroupName"] == {"Ref": "Group"}
    metric = scaling["TargetTrackingConfiguration"]["PredefinedMetricSpecification"]
    assert metric == {"PredefinedMetricType": "ASGAverageCPUUtilization"}


def test_the_balancer_lets_go_of_a_connection_before_the_service_does() -> None:
    idle = int(attributes("Balancer")["idle_timeout.timeout_seconds"])
    settings = Settings()
    assert settings.timeout_seconds < idle < settings.keep_alive_seconds


# --- the stack, on the AWS that moto plays


@dataclass(frozen=True)
class Aws:
    """The clients of an AWS, and a network in it."""

    client: Callable[[str], Any]
    vpc: str
    subnets: str


@dataclass(frozen=True)
class Stack:
    """A stack that was created: its resources, logical name to physical name."""

    aws: Aws
    name: str
    resources: dict[str, str]

    @property
    def launch(self) -> dict[str, Any]:
        """What the instances are launched with."""
        answer = self.aws.client("ec2").describe_launch_template_versions(
            LaunchTemplateId=self.resources["LaunchTemplate"]
        )
        [version] = answer["LaunchTemplateVersions"]
        return dict(version["LaunchTemplateData"])

    @property
    def user_data(self) -> bytes:
        return base64.b64decode(self.launch["UserData"])

    @property
    def outputs(self) -> dict[str, str]:
        [stack] = self.aws.client("cloudformation").describe_stacks(StackName=self.name)["Stacks"]
        assert stack["StackStatus"] == "CREATE_COMPLETE"
        return {item["OutputKey"]: item["OutputValue"] for item in stack["Outputs"]}

    def security_group(self, name: str) -> dict[str, Any]:
        answer = self.aws.client("ec2").describe_security_groups(GroupIds=[self.resources[name]])
        [group] = answer["SecurityGroups"]
        return dict(group)

    def grants(self) -> set[tuple[str, str]]:
        """What the role of the instances may do: pairs of an action and a resource."""
        iam, role = self.aws.client("iam"), self.resources["Role"]
        assert iam.list_attached_role_policies(RoleName=role)["AttachedPolicies"] == []
        [name] = iam.list_role_policies(RoleName=role)["PolicyNames"]
        document = iam.get_role_policy(RoleName=role, PolicyName=name)["PolicyDocument"]
        if isinstance(document, str):  # moto's way, with None where AWS leaves the statement out
            document = ast.literal_eval(document)
        statements = [item for item in document["Statement"] if item]
        assert {item["Effect"] for item in statements} == {"Allow"}
        return {
            (action, item["Resource"])
            for item in statements
            for action in ([item["Action"]] if isinstance(item["Action"], str) else item["Action"])
        }


@pytest.fixture(scope="module")
def aws() -> Iterator[Aws]:
    """A server of moto on loopback."""
    port = free_ports(1)
    server = Path(sys.executable).with_name("moto_server")
    process = subprocess.Popen(
        [server, "--host", "127.0.0.1", "--port", str(port)],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        wait_until(lambda: listens(port))

        def client(service: str) -> Any:
            return boto3.client(
                service,
                endpoint_url=f"http://127.0.0.1:{port}",
                region_name=REGION,
                aws_access_key_id="moto",
                aws_secret_access_key="moto",  # noqa: S106, takes any
            )

        [vpc] = client("ec2").describe_vpcs()["Vpcs"]
        subnets = client("ec2").describe_subnets()["Subnets"][:2]
        yield Aws(client, vpc["VpcId"], ",".join(item["SubnetId"] for item in subnets))
    finally:
        process.terminate()
        process.wait(timeout=30)


@contextmanager
def created(aws: Aws, **overrides: str) -> Iterator[Stack]:
    """A stack of the template until the block ends."""
    client = aws.client("cloudformation")
    name = f"cairn-{uuid4().hex[:8]}"
    parameters = {
        "Image": f"{ECR}/cairn:1.0",
        "VpcId": aws.vpc,
        "BalancerSubnets": aws.subnets,
        "InstanceSubnets": aws.subnets,
        "ClientCidr": "10.1.0.0/16",
        **overrides,
    }
    client.create_stack(
        StackName=name,
        TemplateBody=TEMPLATE.read_text(),
        Parameters=[{"ParameterKey": k, "ParameterValue": v} for k, v in parameters.items()],
        Capabilities=["CAPABILITY_IAM"],
    )
    try:
        listed = client.describe_stack_resources(StackName=name)["StackResources"]
        yield Stack(
            aws,
            name,
            {
                item["LogicalResourceId"]: item["PhysicalResourceId"]
                for item in listed
                if "PhysicalResourceId" in item
            },
        )
    finally:
        client.delete_stack(StackName=name)


@pytest.fixture(scope="module")
def plain(aws: Aws) -> Iterator[Stack]:
    """A stack with as few parameters as it takes."""
    with created(aws) as stack:
        yield stack


@pytest.fixture(scope="module")
def full(aws: Aws) -> Iterator[Stack]:
    """A stack with every parameter that may be left empty."""
    requested = aws.client("acm").request_certificate(DomainName="cairn.example.org")
    with created(aws, CertificateArn=requested["CertificateArn"], **FULL) as stack:
        yield stack


def test_it_is_created_and_says_where_it_is(plain: Stack, full: Stack) -> None:
    for stack, scheme in ((plain, "http"), (full, "https")):
        assert re.fullmatch(rf"{scheme}://[\w.-]+\.elb\.amazonaws\.com", stack.outputs["Url"])
        assert stack.outputs["Group"] == stack.resources["Group"]
        assert stack.outputs["LogGroup"] == f"/cairn/{stack.name}"


def test_nothing_is_left_of_it_once_it_is_deleted(aws: Aws) -> None:
    before = inventory(aws)
    with created(aws):
        during = inventory(aws)
    assert all(len(during[kind]) > len(before[kind]) for kind in before)
    assert inventory(aws) == before


def inventory(aws: Aws) -> dict[str, list[str]]:
    """The names of what was made, by kind; of target groups moto never deletes one."""
    ec2, balancing = aws.client("ec2"), aws.client("elbv2")
    instances = [
        instance["InstanceId"]
        for reservation in ec2.describe_instances()["Reservations"]
        for instance in reservation["Instances"]
        if instance["State"]["Name"] != "terminated"
    ]
    listed: dict[str, tuple[list[dict[str, str]], str]] = {
        "groups": (ec2.describe_security_groups()["SecurityGroups"], "GroupId"),
        "templates": (ec2.describe_launch_templates()["LaunchTemplates"], "LaunchTemplateId"),
        "balancers": (balancing.describe_load_balancers()["LoadBalancers"], "LoadBalancerArn"),
        "logs": (aws.client("logs").describe_log_groups()["logGroups"], "arn"),
        "roles": (aws.client("iam").list_roles()["Roles"], "RoleName"),
        "profiles": (aws.client("iam").list_instance_profiles()["InstanceProfiles"], "Arn"),
    }
    resources = {kind: sorted(item[key] for item in items) for kind, (items, key) in listed.items()}
    resources["roles"] = [
        name for name in resources["roles"] if not name.startswith("AWSServiceRole")
    ]
    return {**resources, "instances": sorted(instances)}


def test_an_instance_may_do_what_it_needs_and_no_more(plain: Stack) -> None:
    assert plain.grants() == {
        *ALWAYS,
        *pulls("cairn"),
        *logs(plain),
        *((action, "*") for action in SHELL),
    }


def test_each_thing_that_is_asked_for_grants_one_resource(full: Stack) -> None:
    assert full.grants() == {
        *ALWAYS,
        *pulls("team/cairn"),
        *logs(full),
        *((action, "*") for action in SHELL),
        ("s3:GetObject", "arn:aws:s3:::models/cairn/a.bentomodel"),
        ("ssm:GetParameter", f"arn:aws:ssm:{REGION}:{ACCOUNT}:parameter/cairn/api-keys"),
        ("kms:Decrypt", FULL["KmsKeyArn"]),
    }


def test_without_a_shell_nobody_is_let_in(aws: Aws) -> None:
    with created(
        aws, Shell="none", Image="210987654321.dkr.ecr.us-east-1.amazonaws.com/a/b/c:1"
    ) as stack:
        repository = "arn:aws:ecr:us-east-1:210987654321:repository/a/b/c"
        assert stack.grants() == {
            *ALWAYS,
            *((action, repository) for action, _ in pulls("")),
            *logs(stack),
        }


def pulls(repository: str) -> set[tuple[str, str]]:
    resource = f"arn:aws:ecr:{REGION}:{ACCOUNT}:repository/{repository}"
    return {("ecr:BatchGetImage", resource), ("ecr:GetDownloadUrlForLayer", resource)}


def logs(stack: Stack) -> set[tuple[str, str]]:
    resource = f"arn:aws:logs:{REGION}:{ACCOUNT}:log-group:/cairn/{stack.name}:*"
    return {("logs:CreateLogStream", resource), ("logs:PutLogEvents", resource)}


def test_metadata_takes_a_token_and_reaches_the_container_only_for_its_model(
    plain: Stack, full: Stack
) -> None:
    for stack, hops in ((plain, 1), (full, 2)):
        options = stack.launch["MetadataOptions"]
        assert options["HttpTokens"] == "required"
        assert options["HttpPutResponseHopLimit"] == hops


def test_every_disk_is_encrypted(plain: Stack) -> None:
    disks = [mapping["Ebs"] for mapping in plain.launch["BlockDeviceMappings"]]
    assert [(disk["Encrypted"], disk["VolumeType"]) for disk in disks] == [(True, "gp3")]


def test_the_ami_is_the_one_that_the_parameter_of_amazon_names(plain: Stack, aws: Aws) -> None:
    name = template()["Parameters"]["Ami"]["Default"]
    named = aws.client("ssm").get_parameter(Name=name)["Parameter"]["Value"]
    assert plain.launch["ImageId"] == named
    assert named.startswith("ami-")


def test_clients_reach_the_balancer_and_the_balancer_the_instances(
    plain: Stack, full: Stack
) -> None:
    for stack, port in ((plain, 80), (full, 443)):
        [rule] = stack.security_group("BalancerSecurityGroup")["IpPermissions"]
        assert (rule["FromPort"], rule["ToPort"]) == (port, port)
        assert [item["CidrIp"] for item in rule["IpRanges"]] == ["10.1.0.0/16"]
        [rule] = stack.security_group("InstanceSecurityGroup")["IpPermissions"]
        assert (rule["FromPort"], rule["ToPort"], rule["IpRanges"]) == (3000, 3000, [])
        [source] = rule["UserIdGroupPairs"]
        assert source["GroupId"] == stack.resources["BalancerSecurityGroup"]
        assert stack.launch["SecurityGroupIds"] == [stack.resources["InstanceSecurityGroup"]]


def test_the_balancer_listens_on_one_port_and_sends_to_who_is_ready(
    plain: Stack, full: Stack
) -> None:
    for stack, port, protocol in ((plain, 80, "HTTP"), (full, 443, "HTTPS")):
        client = stack.aws.client("elbv2")
        arn, target = stack.resources["Balancer"], stack.resources["TargetGroup"]
        [listener] = client.describe_listeners(LoadBalancerArn=arn)["Listeners"]
        assert (listener["Port"], listener["Protocol"]) == (port, protocol)
        assert [action["TargetGroupArn"] for action in listener["DefaultActions"]] == [target]
        [group] = client.describe_target_groups(TargetGroupArns=[target])["TargetGroups"]
        assert (group["HealthCheckPath"], group["Matcher"]["HttpCode"]) == ("/readyz", "200")
        assert (group["Port"], group["HealthCheckPort"]) == (3000, "traffic-port")


def test_a_certificate_brings_tls_of_this_age(full: Stack) -> None:
    [listener] = full.aws.client("elbv2").describe_listeners(
        LoadBalancerArn=full.resources["Balancer"]
    )["Listeners"]
    assert "TLS13-1-2" in listener["SslPolicy"]
    assert len(listener["Certificates"]) == 1


@pytest.mark.parametrize(("parameters", "expected"), [({}, "internal"), (FULL, "internet-facing")])
def test_the_balancer_is_internal_unless_configured(
    aws: Aws, parameters: dict[str, str], expected: str
) -> None:
    with created(aws, **parameters) as stack:
        [balancer] = aws.client("elbv2").describe_load_balancers(
            LoadBalancerArns=[stack.resources["Balancer"]]
        )["LoadBalancers"]
        assert balancer["Scheme"] == expected


def test_the_group_replaces_what_the_balancer_finds_unhealthy(plain: Stack) -> None:
    [group] = plain.aws.client("autoscaling").describe_auto_scaling_groups(
        AutoScalingGroupNames=[plain.resources["Group"]]
    )["AutoScalingGroups"]
    assert group["HealthCheckType"] == "ELB"
    assert group["TargetGroupARNs"] == [plain.resources["TargetGroup"]]
    assert group["LaunchTemplate"]["LaunchTemplateId"] == plain.resources["LaunchTemplate"]
    assert len(group["Instances"]) == group["MinSize"] == 2


def test_logs_end_after_a_month(plain: Stack) -> None:
    [group] = plain.aws.client("logs").describe_log_groups(
        logGroupNamePrefix=plain.outputs["LogGroup"]
    )["logGroups"]
    assert group["retentionInDays"] == 30


# --- the user data


def test_it_is_short_enough_for_ec2_and_the_template_for_the_command_line(full: Stack) -> None:
    assert len(full.user_data) < 16_384
    assert TEMPLATE.stat().st_size < 51_200
    assert b"${AWS" not in full.user_data


@pytest.mark.real
def test_shellcheck_has_nothing_to_say(plain: Stack, full: Stack, tmp_path: Path) -> None:
    for stack in (plain, full):
        script = tmp_path / f"{stack.name}.sh"
        script.write_bytes(stack.user_data)
        done = subprocess.run(
            [tool("shellcheck", "shellcheck"), script],
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        assert (done.returncode, done.stdout) == (0, "")


# What stands in for each thing that is AWS's or the machine's, in a root of its own: a pattern of
# the command with its words, and what it does. Anything else that is called is refused.
STUBS = {
    "curl *-X PUT *169.254.169.254/latest/api/token": "echo TOKEN",
    "curl *X-aws-ec2-metadata-token: TOKEN*/latest/meta-data/instance-id": f"echo {INSTANCE}",
    "curl *http://127.0.0.1:3000/readyz": ":",
    "dnf install *": ":",
    "aws ecr get-login-password *": f"echo {PASSWORD}",
    "aws elbv2 wait target-in-service *": ":",
    "aws logs create-log-stream *": ":",
    "aws logs put-log-events *": ":",
    "aws ssm get-parameter *": f"printf '%s\\n' {' '.join(KEYS)}",
    "docker --config * login *": 'cat >/stand/password; touch "$2/config.json"',
    "docker --config * pull *": ":",
    "docker logs cairn": ":",
    "systemctl enable --now docker": ":",
    "systemctl daemon-reload": ":",
    "systemctl enable --now cairn": ":",
    "systemctl show *": "echo 0",
    "journalctl *": ":",
    "sleep *": ":",
    "cfn-signal *": ":",
}


@dataclass
class Boot:
    """What a run of the user data did.

    Attributes
    ----------
    code, printed
        Its exit code and its output.
    calls
        The commands that it called, one list of words each, in order.
    root
        Where what it wrote was copied to, as from the root of the file system.
    """

    code: int
    printed: str
    calls: list[list[str]]
    root: Path
    signal: dict[str, str] = field(init=False)

    def __post_init__(self) -> None:
        [words] = [call[1:] for call in self.calls if call[0] == "cfn-signal"]
        self.signal = dict(zip(words[::2], words[1::2], strict=True))

    def index_of(self, *start: str) -> int:
        """At which place among the calls the only one is that starts with these words."""
        [index] = [i for i, call in enumerate(self.calls) if call[: len(start)] == [*start]]
        return index

    def programs(self) -> set[str]:
        return {call[0] for call in self.calls}

    def reported(self, stack: Stack) -> str:
        """Why it failed, as its log stream in the group of the stack has it."""
        stream = self.calls[self.index_of("aws", "logs", "create-log-stream")][3:]
        options = self.calls[self.index_of("aws", "logs", "put-log-events")][3:]
        assert stream == options[:4]
        group, name = stream[1::2]
        assert group == stack.outputs["LogGroup"]
        assert name == f"{INSTANCE if 'dnf' in self.programs() else 'unknown'}-start"
        [event] = json.loads(options[5])
        begun = (self.root / "stand" / "user-data").stat().st_mtime
        assert begun - 60 < event["timestamp"] / 1000 < time.time() + 60
        return str(event["message"])

    def unit(self) -> str:
        return (self.root / "etc/systemd/system/cairn.service").read_text()

    def directives(self, name: str) -> list[str]:
        """The values that the unit gives a directive, lines put together."""
        text = re.sub(r"\\\n\s*", "", self.unit())
        return re.findall(rf"^{name}=(.*)$", text, re.MULTILINE)

    def settings(self) -> dict[str, str]:
        lines = (self.root / "etc/cairn/settings").read_text().split()
        return dict(line.split("=", 1) for line in lines)


def booted(
    stack: Stack, folder: Path, changes: Mapping[str, str] | None = None, then: str = ""
) -> Boot:
    """Run the user data of a stack in a root of its own, and shell commands after it.

    Parameters
    ----------
    changes
        To the stubs: what is tried before them, the last first.
    """
    docker.require()
    stand = folder / "stand"
    (stand / "bin").mkdir(parents=True, exist_ok=True)
    (stand / "user-data").write_bytes(stack.user_data)
    (stand / "user-data").chmod(0o755)
    for name in {pattern.split()[0] for pattern in STUBS}:
        # Where Amazon Linux has it, which is not on the PATH.
        file = stand / ("cfn" if name == "cfn-signal" else "bin") / name
        file.parent.mkdir(exist_ok=True)
        file.write_text(stub({**STUBS, **(changes or {})}))
        file.chmod(0o755)
    name = docker.docker(
        "create",
        "--network=none",
        f"--volume={stand}:/stand",
        f"--volume={stand / 'cfn'}:/opt/aws/bin:ro",
        "--env=PATH=/stand/bin:/usr/sbin:/usr/bin:/sbin:/bin",
        base_image(),
        "bash",
        "-c",
        # Into one pipe: Docker carries two, and forgets which line came first. And through cat,
        # which ends when all that wrote to the console have.
        f"exec 2>&1; /stand/user-data | cat; code=${{PIPESTATUS[0]}}; {then}\nexit $code",
    )
    try:
        done = subprocess.run(
            ["docker", "start", "--attach", name],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=300,
            check=False,
        )
        for path in ("/etc/cairn", "/etc/systemd/system/cairn.service", "/usr/local/sbin"):
            (folder / path[1:]).parent.mkdir(parents=True, exist_ok=True)
            with suppress(subprocess.CalledProcessError):
                docker.docker("cp", f"{name}:{path}", str(folder / path[1:]))
    finally:
        docker.docker("rm", "--force", name)
    calls = (stand / "calls").read_text().splitlines()
    return Boot(done.returncode, done.stdout, [line.split("\x1f")[:-1] for line in calls], folder)


def stub(cases: Mapping[str, str]) -> str:
    """A command that notes how it was called and does what the last case says that fits."""
    lines = [
        f"{'*'.join(map(shlex.quote, pattern.split('*')))}) {done};;"
        for pattern, done in reversed([*cases.items()])
    ]
    return "\n".join(
        [
            "#!/bin/bash",
            "name=${0##*/}",
            # In one piece, as both ends of a pipe write at once.
            """call=$(printf '%s\\037' "$name" "$@"); echo "$call" >>/stand/calls""",
            'case "$name $*" in',
            *lines,
            '*) echo "not expected: $name $*" >&2; exit 97;;',
            "esac",
        ]
    )


def base_image() -> str:
    """The image that Cairn's is built on, and so is here."""
    content = yaml.safe_load((ROOT / "bentofile.yaml").read_text())
    return str(content["docker"]["base_image"])


@pytest.fixture(scope="module")
def boot(plain: Stack, tmp_path_factory: pytest.TempPathFactory) -> Boot:
    """The user data of the plain stack, where all goes well."""
    return booted(plain, tmp_path_factory.mktemp("plain"), then="ls -A /tmp /root/.docker 2>&1")


@pytest.fixture(scope="module")
def full_boot(full: Stack, tmp_path_factory: pytest.TempPathFactory) -> Boot:
    """The user data of the full stack, and then what the unit runs before it starts, twice."""
    keys = "/usr/local/sbin/cairn-keys"
    look = "stat -c '%a %u %g %n' /run/cairn/*; cat /run/cairn/api-keys"
    return booted(
        full, tmp_path_factory.mktemp("full"), then=f"mkdir /run/cairn; {keys} && {keys}; {look}"
    )


@pytest.mark.real
def test_an_instance_that_is_ready_and_healthy_says_so_at_the_end(boot: Boot, plain: Stack) -> None:
    assert boot.code == 0, boot.printed
    order = [
        boot.index_of("dnf", "install"),
        boot.index_of("systemctl", "enable", "--now", "docker"),
        boot.index_of("aws", "ecr", "get-login-password"),
        boot.index_of("systemctl", "daemon-reload"),
        boot.index_of("systemctl", "enable", "--now", "cairn"),
        boot.calls.index(next(call for call in boot.calls if call[-1].endswith("/readyz"))),
        boot.index_of("aws", "elbv2", "wait", "target-in-service"),
        boot.index_of("cfn-signal"),
    ]
    assert order == sorted(order)
    assert order[-1] == len(boot.calls) - 1
    assert boot.signal == {
        "--stack": plain.name,
        "--resource": "Group",
        "--region": REGION,
        "--exit-code": "0",
    }
    waited = boot.calls[boot.index_of("aws", "elbv2", "wait", "target-in-service")]
    assert waited[4:] == [
        "--target-group-arn",
        plain.resources["TargetGroup"],
        "--targets",
        f"Id={INSTANCE}",
    ]
    assert boot.signal["--resource"] in template()["Resources"]


@pytest.mark.real
def test_it_installs_what_it_calls(boot: Boot) -> None:
    installed = boot.calls[boot.index_of("dnf", "install")]
    assert {"docker", "awscli-2", "aws-cfn-bootstrap"} <= set(installed)


@pytest.mark.real
def test_the_sign_in_is_by_a_pipe_and_leaves_nothing(boot: Boot) -> None:
    config = [call[2] for call in boot.calls if call[:2] == ["docker", "--config"]]
    assert len(set(config)) == 1
    login, pull = ([*call[3:]] for call in boot.calls if call[:2] == ["docker", "--config"])
    assert login == ["login", "--username", "AWS", "--password-stdin", ECR]
    assert pull == ["pull", "--quiet", f"{ECR}/cairn:1.0"]
    assert (boot.root / "stand/password").read_text() == f"{PASSWORD}\n"
    assert PASSWORD not in str(boot.calls) + boot.printed
    assert config[0].startswith("/tmp/")  # noqa: S108, as printed below
    assert Path(config[0]).name not in boot.printed


@pytest.mark.real
def test_the_region_of_the_repository_may_be_another(aws: Aws, tmp_path: Path) -> None:
    image = "210987654321.dkr.ecr.us-east-1.amazonaws.com/cairn:1.0"
    with created(aws, Image=image) as stack:
        boot = booted(stack, tmp_path)
    assert boot.code == 0
    assert boot.calls[boot.index_of("aws", "ecr")][-2:] == ["--region", "us-east-1"]


# What fails, with what, and what the report says about it.
FAILURES = {
    "metadata": (
        {"curl *latest/api/token": "echo timed out >&2; exit 22"},
        "asking for the instance's id",
        "timed out",
    ),
    "packages": ({"dnf *": "echo no mirror >&2; exit 1"}, "installing Docker", "no mirror"),
    "engine": ({"systemctl enable --now docker": "exit 5"}, "installing Docker", ""),
    "role": (
        {"aws ecr *": "echo AccessDenied >&2; exit 254"},
        f"pulling {ECR}/cairn:1.0",
        "AccessDenied",
    ),
    "sign-in": ({"docker --config * login *": "cat >/dev/null; exit 1"}, "pulling ", ""),
    "image": (
        {"docker --config * pull *": "echo manifest unknown >&2; exit 1"},
        "pulling ",
        "manifest unknown",
    ),
    "keys": (
        {
            "systemctl enable --now cairn": "echo Job failed >&2; exit 1",
            "journalctl *": """printf '%s\\n' 'An error: no "access"' Failed""",
            "docker logs cairn": "exit 1",
        },
        "starting the service",
        'An error: no "access"',
    ),
    "never ready": (
        {"curl *readyz": "exit 22", "docker logs cairn": "echo INFO"},
        "becoming ready",
        "/readyz does not answer 200",
    ),
    "setting": (
        {
            "curl *readyz": "exit 7",
            "systemctl show *": "echo 5",
            "docker logs cairn": "echo 'error: WORKERS: wrong' >&2; echo 'error: a worker ended'",
        },
        "becoming ready",
        "error: WORKERS: wrong",
    ),
    "model": (
        {
            "curl *readyz": "exit 7",
            "systemctl show *": "echo 5",
            "docker logs cairn": """echo '{"level":"error","event":"MODEL_SHA256: another"}'""",
        },
        "becoming ready",
        "MODEL_SHA256: another",
    ),
    "container": (
        {
            "curl *readyz": "exit 7",
            "systemctl show *": "echo 5",
            "docker logs cairn": "exit 1",
            "journalctl *": "echo 'docker: Error: no such log group'",
        },
        "becoming ready",
        "docker: Error: no such log group",
    ),
    "balancer": (
        {"aws elbv2 *": "echo Max attempts >&2; exit 255"},
        "becoming healthy",
        "Max attempts",
    ),
}


@pytest.mark.real
@pytest.mark.parametrize("failure", FAILURES)
def test_whatever_fails_is_signalled_and_reported_with_what_and_why(
    failure: str, plain: Stack, tmp_path: Path
) -> None:
    changes, step, reason = FAILURES[failure]
    boot = booted(plain, tmp_path, changes)
    assert boot.code != 0
    assert boot.signal["--exit-code"] == str(boot.code)
    assert boot.index_of("aws", "logs", "put-log-events") < boot.index_of("cfn-signal")
    report = boot.reported(plain)
    assert report.startswith(step)
    assert reason in report


@pytest.mark.real
def test_a_signal_goes_out_where_nothing_can_be_reported(plain: Stack, tmp_path: Path) -> None:
    boot = booted(plain, tmp_path, {"dnf *": "exit 1", "aws logs *": "exit 1"})
    assert boot.signal["--exit-code"] == "1"


@pytest.mark.real
def test_a_service_that_comes_up_late_is_waited_for(plain: Stack, tmp_path: Path) -> None:
    late = "[ $(grep -c readyz /stand/calls) -gt 20 ] || exit 22"
    assert booted(plain, tmp_path, {"curl *readyz": late}).code == 0


@pytest.mark.real
def test_a_signal_that_nobody_waits_for_does_no_harm(plain: Stack, tmp_path: Path) -> None:
    """So it is when the group grows, with no stack in the making."""
    assert booted(plain, tmp_path, {"cfn-signal *": "exit 1"}).code == 0


@pytest.mark.real
def test_the_settings_are_ones_that_the_service_takes(boot: Boot, full_boot: Boot) -> None:
    for each in (boot, full_boot):
        names = {name.lower() for name in each.settings()}
        assert names - set(Settings.model_fields) == {"port", "aws_region"}
        assert each.settings()["AWS_REGION"] == REGION
    assert boot.settings().keys() == {
        "PORT", "WORKERS", "DRAIN_SECONDS", "GRACEFUL_SECONDS", "AWS_REGION",
    }  # fmt: skip
    values = full_boot.settings()
    assert values["MODEL_URI"] == FULL["ModelUri"]
    assert values["MODEL_SHA256"] == FULL["ModelSha256"]
    assert values["API_KEYS_FILE"] == "/run/cairn/api-keys"
    assert values["METRICS_OPEN"] == "false"
    assert (values["LOG_LEVEL"], values["MAX_ROWS"]) == ("warning", "100")
    assert values["WORKERS"] == FULL["Workers"]


@pytest.mark.real
def test_the_keys_of_clients_come_at_each_start_for_the_service_alone(full_boot: Boot) -> None:
    end = full_boot.printed.splitlines()[-3:]
    assert end == ["400 1034 1034 /run/cairn/api-keys", *KEYS]
    calls = [call for call in full_boot.calls if call[:2] == ["aws", "ssm"]]
    assert len(calls) == 2
    assert calls[0][calls[0].index("--name") + 1] == FULL["ApiKeysParameter"]
    assert "--with-decryption" in calls[0]
    [*_, first] = full_boot.directives("ExecStartPre")[:1]
    assert first == "/usr/local/sbin/cairn-keys" == full_boot.directives("ExecReload")[0]


@pytest.mark.real
def test_without_keys_nothing_is_asked_for(plain: Stack, tmp_path: Path) -> None:
    then = "mkdir /run/cairn; /usr/local/sbin/cairn-keys && ls -A /run/cairn"
    boot = booted(plain, tmp_path, then=then)
    assert boot.printed.splitlines()[-1] == "cairn: ready"
    assert not [call for call in boot.calls if call[:2] == ["aws", "ssm"]]


@pytest.mark.real
@pytest.mark.parametrize(
    ("answer", "message"),
    [("exit 254", ""), ("echo", "error: the SSM parameter /cairn/api-keys is empty")],
)
def test_keys_that_do_not_come_leave_those_that_are_there(
    full: Stack, tmp_path: Path, answer: str, message: str
) -> None:
    then = (
        "mkdir /run/cairn; echo old >/run/cairn/api-keys;"
        "/usr/local/sbin/cairn-keys; echo code $?; cat /run/cairn/api-keys"
    )
    boot = booted(full, tmp_path, {"aws ssm *": answer}, then=then)
    assert re.search(r"code [1-9]\d*\nold$", boot.printed.strip())
    assert message in boot.printed


@pytest.mark.real
def test_systemd_accepts_the_unit(boot: Boot, tmp_path: Path) -> None:
    """With the one program of ours that it calls at a path that is here."""
    keys = tmp_path / "cairn-keys"
    keys.touch(0o755)
    unit = tmp_path / "cairn.service"
    unit.write_text(boot.unit().replace("/usr/local/sbin/cairn-keys", str(keys)))
    done = subprocess.run(
        [tool("systemd-analyze", "systemd"), "verify", "--man=no", unit],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.real
def test_the_unit_comes_back_whatever_ends_it(boot: Boot) -> None:
    assert boot.directives("Restart") == ["always"]
    assert boot.directives("StartLimitIntervalSec") == ["0"]
    assert boot.directives("WantedBy") == ["multi-user.target"]
    assert "docker.service" in boot.directives("After")[0]  # and so stops before it


@pytest.mark.real
def test_each_step_of_an_end_has_the_time_that_the_one_before_needs(boot: Boot) -> None:
    drain, graceful = (int(boot.settings()[f"{name}_SECONDS"]) for name in ("DRAIN", "GRACEFUL"))
    check = properties("TargetGroup")
    unseen = check["HealthCheckIntervalSeconds"] * check["UnhealthyThresholdCount"]
    assert unseen + check["HealthCheckTimeoutSeconds"] < drain
    assert Settings().timeout_seconds <= graceful
    deregistration = int(attributes("TargetGroup")["deregistration_delay.timeout_seconds"])
    assert drain + graceful <= deregistration
    [stop] = re.findall(r"--stop-timeout=(\d+)", boot.unit())
    assert drain + graceful < int(stop) < int(boot.directives("TimeoutStopSec")[0])


@pytest.mark.real
def test_logs_go_to_the_group_that_the_role_may_write_to(boot: Boot, plain: Stack) -> None:
    [command] = boot.directives("ExecStart")
    assert {word for word in shlex.split(command) if word.startswith("--log-")} == {
        "--log-driver=awslogs",
        f"--log-opt=awslogs-region={REGION}",
        f"--log-opt=awslogs-group={plain.outputs['LogGroup']}",
        f"--log-opt=awslogs-stream={INSTANCE}",
    }


# --- what the unit runs, on the engine that is here


@dataclass(frozen=True)
class Unit:
    """The unit of a boot as systemd would run it, but for what only an instance has.

    That is: its name and its port, which may be taken here; its logs, for which the engine's
    own files take the place of CloudWatch; the image of ECR, whose place the one made here takes;
    and the folders that it takes from the machine.
    """

    boot: Boot
    image: str
    folder: Path
    name: str

    def start(self) -> list[str]:
        [command] = self.boot.directives("ExecStart")
        assert not set("$%") & set(command)  # systemd would put something in their place
        instead = {
            r"/usr/bin/docker": "docker",
            r"--name=cairn": f"--name={self.name}",
            r"--publish=3000:3000": "--publish=127.0.0.1::3000",
            r"--env-file=/etc/cairn/settings": f"--env-file={self.folder / 'settings'}",
            r"--volume=/run/cairn:/run/cairn:ro": f"--volume={self.folder / 'run'}:/run/cairn:ro",
            re.escape(ECR) + r"/.*": self.image,
            r"--log-.*": "",
        }
        words = shlex.split(command)
        for pattern, word in instead.items():
            assert any(re.fullmatch(pattern, old) for old in words), pattern
            words = [word if re.fullmatch(pattern, old) else old for old in words]
        return [word for word in words if word]

    def stop(self) -> list[str]:
        [command] = self.boot.directives("ExecStop")
        assert command == "/usr/bin/docker stop cairn"
        return ["docker", "stop", self.name]


@contextmanager
def running(unit: Unit) -> Iterator[subprocess.Popen[str]]:
    """The unit's main process until the block ends."""
    process = subprocess.Popen(
        unit.start(), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    try:
        yield process
    finally:
        subprocess.run(["docker", "rm", "--force", unit.name], capture_output=True, check=False)
        process.communicate(timeout=PATIENCE)


def prepared(boot: Boot, image: str, folder: Path, **settings: str) -> Unit:
    """The unit with its settings, and its keys where there are any, in a folder of ours."""
    values = {**boot.settings(), **settings}
    (folder / "run").mkdir()
    (folder / "run" / "api-keys").write_text("\n".join(KEYS))
    (folder / "settings").write_text("".join(f"{k}={v}\n" for k, v in values.items()))
    return Unit(boot, image, folder, f"cairn-ec2-{uuid4().hex[:8]}")


@pytest.mark.real
@pytest.mark.slow
def test_the_container_runs_hardened_answers_and_ends_without_losing_a_request(
    image: str, full_boot: Boot, tmp_path: Path
) -> None:
    # The model is the image's own: no S3 is within reach of the container here.
    unit = prepared(full_boot, image, tmp_path, MODEL_URI="", MODEL_SHA256="")
    with (
        running(unit) as process,
        httpx.Client(base_url=address(unit, process), timeout=PATIENCE) as client,
    ):
        check_hardened(unit)
        check_keys(client, tmp_path / "run")
        client.headers["x-api-key"] = ROTATED
        started = time.monotonic()
        with subprocess.Popen(unit.stop(), stdout=subprocess.DEVNULL):
            wait_until(lambda: client.get("/readyz").status_code == 503)
            assert answered_to_the_end(client)
            # Its own end, which the engine would make a 137 of after the time to stop.
            assert process.wait(timeout=PATIENCE) == 0
        assert time.monotonic() - started >= int(unit.boot.settings()["DRAIN_SECONDS"])


def answered_to_the_end(client: httpx.Client) -> int:
    """How many requests are answered until no connection is made; where one is, none is lost."""
    answered = 0
    while True:
        try:
            assert predict(client) == 200
        except httpx.ConnectError:
            return answered
        answered += 1
        time.sleep(0.1)


def address(unit: Unit, process: subprocess.Popen[str]) -> str:
    """Where the container answers, once it is ready.

    That is the container itself: the engine's proxy takes connections for one that has ended, too.
    """

    def ready() -> bool:
        assert process.poll() is None, process.communicate()
        with suppress(subprocess.CalledProcessError, httpx.TransportError):
            url = f"http://{docker.docker('port', unit.name, '3000/tcp')}"
            return httpx.get(f"{url}/readyz").is_success
        return False

    wait_until(ready)
    return f"http://{docker.address(unit.name)}:3000"


def check_hardened(unit: Unit) -> None:
    [boot] = json.loads(docker.docker("inspect", unit.name))
    host, config = boot["HostConfig"], boot["Config"]
    assert host["ReadonlyRootfs"] is True
    assert host["CapDrop"] == ["ALL"]
    assert not host["CapAdd"]
    assert not host["Privileged"]
    assert host["SecurityOpt"] == ["no-new-privileges"]
    assert host["Tmpfs"] == {"/tmp": ""}  # noqa: S108, the container's
    assert host["PidsLimit"] == 4096
    assert host["NetworkMode"] != "host"
    assert host["RestartPolicy"]["Name"] in {"", "no"}  # systemd's part
    assert [mount["RW"] for mount in boot["Mounts"] if mount["Type"] == "bind"] == [False]
    assert config["User"] == "1034:1034"
    assert config["StopTimeout"] == 50
    assert docker.docker("exec", unit.name, "id", "-u") == "1034"


def check_keys(client: httpx.Client, folder: Path) -> None:
    """One of the keys is asked for, and the file that takes the place of theirs is read."""
    assert predict(client) == 401
    assert client.get("/metrics").status_code == 401
    assert client.get("/health").status_code == 200
    assert predict(client, KEYS[1]) == 200
    (folder / "new").write_text(f"{ROTATED}\n")
    (folder / "new").rename(folder / "api-keys")
    # Each worker reads it within a second, and each new connection may be another worker's.
    close = {"connection": "close"}
    wait_until(lambda: all(predict(client, ROTATED, **close) == 200 for _ in range(20)))
    assert predict(client, KEYS[1]) == 401


def predict(client: httpx.Client, key: str = "", **others: str) -> int:
    headers = {"x-api-key": key, **others} if key else others
    return client.post("/predict", json={"features": MALIGNANT}, headers=headers).status_code


@pytest.mark.real
@pytest.mark.slow
def test_why_the_service_does_not_start_is_what_the_report_says(
    image: str, boot: Boot, plain: Stack, tmp_path: Path
) -> None:
    """The real service's own words, in place of those in the cases above."""
    wrong = {"AWS_ENDPOINT_URL": "http://127.0.0.1:1", "MODEL_URI": "s3://models/a"}
    secrets = {"AWS_ACCESS_KEY_ID": "none", "AWS_SECRET_ACCESS_KEY": "none"}
    unit = prepared(boot, image, tmp_path, MODEL_SHA256="a" * 64, **wrong, **secrets)
    with running(unit) as process:
        process.wait(timeout=300)
        log = subprocess.run(
            ["docker", "logs", unit.name],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            check=True,
        ).stdout
    assert process.returncode == 1
    (tmp_path / "stand").mkdir()
    (tmp_path / "stand" / "log").write_bytes(log)
    changes = {
        "curl *readyz": "exit 7",
        "systemctl show *": "echo 5",
        "docker logs cairn": "cat /stand/log",
    }
    reason = booted(plain, tmp_path, changes).reported(plain)
    assert "the model cannot be loaded: MODEL_URI: s3://models/a cannot be fetched" in reason
