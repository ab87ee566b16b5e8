"""``mailsrv backup bucket``: the bucket that the owner of a domain wants its backups in.

The secret access key comes from the terminal without echo or from standard input, and lies in the
directory under the secret of this server.
"""

import click

from mailsrv.backup.stores import sealed_secret, unsealed_secret
from mailsrv.cli.backups import backup
from mailsrv.cli.main import Context
from mailsrv.cli.output import bold, plain
from mailsrv.cli.passwords import ask
from mailsrv.directory.directory import DomainBucket
from mailsrv.errors import BackupStoreFailed, InvalidInput
from mailsrv.settings import BucketPlace, bucket_problem
from mailsrv.store.secret import ServerSecret
from mailsrv.store.volume import Volume


@backup.group()
def bucket() -> None:
    """Buckets that domains have for themselves: others' backups go where [backup] says."""


@bucket.command("set")
@click.argument("domain")
@click.option("--bucket", "name", required=True, help="Name of the bucket.")
@click.option("--access-key-id", required=True, help="The secret that goes with it is asked for.")
@click.option("--endpoint", default="", help="URL of the store. Default: Amazon's for the region.")
@click.option("--region", default="us-east-1", show_default=True)
@click.option("--prefix", default="", help="Before the name of every object.")
@click.option(
    "--style",
    type=click.Choice(("path", "host")),
    default="path",
    show_default=True,
    help="Whether the bucket is named in the path or in the host of a URL.",
)
@click.pass_obj
def set_(
    context: Context,
    domain: str,
    name: str,
    access_key_id: str,
    endpoint: str,
    region: str,
    prefix: str,
    style: str,
) -> None:
    """Keep the backups of DOMAIN in a bucket of its own from now on.

    An object is put there, read and removed first. A bucket that anybody can read is refused.
    """
    known = context.directory.domain(domain)
    place = _place(name, access_key_id, endpoint, region, prefix, style)
    server = _server(context)
    secret = _secret(access_key_id)
    versions = _try(place, secret)
    before = context.directory.bucket(known.name)
    sealed = sealed_secret(server, known.id, place, secret, before)
    context.directory.set_bucket(known.name, place, sealed)
    document = {"domain": known.name, **_document(place), "keeps_versions": versions}
    sentence = (
        f"Backups of {bold(known.name)} go to bucket {bold(place.bucket)} from now on. "
        "Earlier ones stay where they are."
    )
    if versions:
        sentence += (
            "\nThe bucket keeps versions: what is removed stays there until a rule of its own "
            "(lifecycle, noncurrent versions) removes it for good."
        )
    context.output.fact(document, sentence)


@bucket.command("show")
@click.argument("domain", required=False)
@click.pass_obj
def show(context: Context, domain: str | None) -> None:
    """The bucket of DOMAIN, or those of all domains; never their secrets."""
    name = None if domain is None else context.directory.domain(domain).name
    server = _server(context)
    rows = [
        {"domain": one.domain, **_document(one.place), "secret_known": _is_known(server, one)}
        for one in context.directory.buckets()
        if name in (None, one.domain)
    ]
    columns = (
        "domain",
        "bucket",
        "endpoint",
        "region",
        "prefix",
        "style",
        "access_key_id",
        "secret_known",
    )
    context.output.rows(rows, columns, f"No bucket: backups go where {plain('[backup]')} says.")


@bucket.command("remove")
@click.argument("domain")
@click.pass_obj
def remove(context: Context, domain: str) -> None:
    """Keep the backups of DOMAIN where all others are again; those in its bucket stay there."""
    name = context.directory.domain(domain).name
    if not context.directory.remove_bucket(name):
        raise InvalidInput(f"{name} has no bucket of its own")
    context.output.fact(
        {"domain": name},
        f"Backups of {bold(name)} go where {plain('[backup]')} says from now on. "
        "What is in the bucket stays there.",
    )


def _place(
    name: str, access_key_id: str, endpoint: str, region: str, prefix: str, style: str
) -> BucketPlace:
    place = BucketPlace(
        bucket=name,
        access_key_id=access_key_id,
        endpoint=endpoint,
        region=region,
        prefix=prefix,
        style="host" if style == "host" else "path",
    )
    problem = bucket_problem(place)
    if problem:
        key, _, sentence = problem.partition(":")
        raise InvalidInput(f"--{key.replace('_', '-')}:{sentence}")
    return place


def _secret(access_key_id: str) -> str:
    # loaded here: other commands need nothing of the stores
    from mailsrv.backup.objects.opening import checked_secret

    return checked_secret(ask(f"Secret access key of {access_key_id}"))


def _try(place: BucketPlace, secret: str) -> bool:
    """Whether it keeps versions; BackupStoreFailed when it is not fit for backups."""
    from mailsrv.backup.objects.probe import PATIENCE, keeps_versions, try_bucket
    from mailsrv.backup.objects.s3 import S3Store

    store = S3Store(place, secret, PATIENCE)
    try_bucket(store)
    return keeps_versions(store)


def _server(context: Context) -> ServerSecret:
    settings = context.settings
    if "primary" not in settings.roles:
        raise InvalidInput("run this where the primary is: it makes the backups")
    return ServerSecret(Volume(settings.base, settings.store.mailboxes).server_key())


def _is_known(server: ServerSecret, one: DomainBucket) -> bool:
    try:
        unsealed_secret(server, one)
    except BackupStoreFailed:
        return False
    return True


def _document(place: BucketPlace) -> dict[str, object]:
    return {
        "bucket": place.bucket,
        "endpoint": place.endpoint or None,
        "region": place.region,
        "prefix": place.prefix,
        "style": place.style,
        "access_key_id": place.access_key_id,
    }
