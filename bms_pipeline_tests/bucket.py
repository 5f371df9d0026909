"""A bucket for tests: a stand-in for S3 on loopback (moto), which checks keys and rights as S3 does."""

from __future__ import annotations

import contextlib
import importlib.util
import json
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import requests

_PACKAGES = ("duckdb_extension_httpfs", "moto", "boto3", "flask", "flask_cors")
REGION = "eu-central-1"
NAME = "tenants"
RIGHTS = {
    f"arn:aws:s3:::{NAME}": ["s3:ListBucket", "s3:DeleteObject"],  # the second is moto's own: it asks the bucket
    f"arn:aws:s3:::{NAME}/*": ["s3:GetObject", "s3:PutObject", "s3:DeleteObject"],
}
"""All that the pipeline's key may do, and where; docs/deploy.md names these."""


def why_no_bucket() -> str:
    """Why there is no stand-in for S3 here; empty where there is one."""
    missing = [package for package in _PACKAGES if importlib.util.find_spec(package) is None]
    return f"{missing[0].replace('_', '-')} is not installed" if missing else ""


@dataclass(frozen=True)
class Bucket:
    """A bucket in the stand-in, which answers at ``endpoint``, and a key that has ``RIGHTS`` in it."""

    endpoint: str
    key: str
    secret: str

    def environment(self) -> dict[str, str]:
        """What a person sets for it, as docs/deploy.md says."""
        return {
            "BMS_PIPELINE_LAKE": f"s3://{NAME}/msp",
            "AWS_ACCESS_KEY_ID": self.key,
            "AWS_SECRET_ACCESS_KEY": self.secret,
            "AWS_REGION": REGION,
            "AWS_ENDPOINT_URL": self.endpoint,
        }

    def objects(self) -> set[str]:
        """The keys of all objects in it."""
        pages = _client("s3", self.endpoint, self.key, self.secret).get_paginator("list_objects_v2")
        return {found["Key"] for page in pages.paginate(Bucket=NAME) for found in page.get("Contents", [])}


@contextmanager
def running_bucket() -> Iterator[Bucket]:
    """A new bucket in a stand-in of its own, gone at the end."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        endpoint = f"http://127.0.0.1:{free.getsockname()[1]}"
    command = [sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", endpoint.rpartition(":")[2]]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as stand_in:
        try:
            _until_it_answers(endpoint)
            yield _new_bucket(endpoint)
        finally:
            stand_in.terminate()


def _new_bucket(endpoint: str) -> Bucket:
    _client("s3", endpoint).create_bucket(Bucket=NAME, CreateBucketConfiguration={"LocationConstraint": REGION})
    people = _client("iam", endpoint)
    people.create_user(UserName="pipeline")
    statements = [{"Effect": "Allow", "Action": actions, "Resource": where} for where, actions in RIGHTS.items()]
    policy = json.dumps({"Version": "2012-10-17", "Statement": statements})
    people.put_user_policy(UserName="pipeline", PolicyName="lake", PolicyDocument=policy)
    key = people.create_access_key(UserName="pipeline")["AccessKey"]
    requests.post(f"{endpoint}/moto-api/reset-auth", data=b"0", timeout=30).raise_for_status()  # from now on it checks
    return Bucket(endpoint, key["AccessKeyId"], key["SecretAccessKey"])


def _client(service: str, endpoint: str, key: str = "any", secret: str = "any") -> Any:
    import boto3  # takes a second, and is not everywhere installed

    options = {"endpoint_url": endpoint, "region_name": REGION}
    return boto3.client(service, aws_access_key_id=key, aws_secret_access_key=secret, **options)


def _until_it_answers(endpoint: str) -> None:
    give_up = time.monotonic() + 120
    while True:
        with contextlib.suppress(requests.ConnectionError):
            requests.get(f"{endpoint}/moto-api/data.json", timeout=30).raise_for_status()
            return
        assert time.monotonic() < give_up, "the stand-in does not answer"
        time.sleep(0.1)
