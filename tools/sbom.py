"""Writes the bill of materials of an image: the crates in sp1d, and Debian's packages beside it. ./x image runs it."""

import argparse
import pathlib
import re
import sys
import tomllib
import uuid
from datetime import datetime, timezone

from cyclonedx.contrib.license.factories import LicenseFactory
from cyclonedx.model import HashAlgorithm, HashType
from cyclonedx.model.bom import Bom
from cyclonedx.model.component import Component, ComponentType
from cyclonedx.output import make_outputter
from cyclonedx.schema import OutputFormat, SchemaVersion
from cyclonedx.validation.json import JsonStrictValidator
from packageurl import PackageURL

SCHEMA = SchemaVersion.V1_6
CRATE = re.compile(r"(?P<name>\S+) v(?P<version>\S+)(?: \(.*\))?")


def crates(tree, lock):
    """Yields a component for each line `NAME vVERSION|LICENSE` of `cargo tree`."""
    locked = tomllib.loads(lock.read_text())["package"]
    checksums = {(crate["name"], crate["version"]): crate.get("checksum") for crate in locked}
    # `cargo tree` marks procedural macros, and crates that it has printed before.
    lines = {line.removesuffix(" (*)").replace(" (proc-macro)", "") for line in tree.read_text().splitlines()}
    for line in sorted(lines):
        described, _, licenses = line.partition("|")
        found = CRATE.fullmatch(described.strip())
        if not found:
            sys.exit(f"error: `cargo tree` has an unknown line: {line}")
        name, version = found["name"], found["version"]
        if (name, version) not in checksums:
            sys.exit(f"error: {name} {version} is not in {lock}")
        checksum = checksums[name, version]
        yield Component(
            name=name,
            version=version,
            type=ComponentType.LIBRARY,
            bom_ref=f"pkg:cargo/{name}@{version}",
            purl=PackageURL("cargo", None, name, version),
            hashes=[HashType(alg=HashAlgorithm.SHA_256, content=checksum)] if checksum else [],
            # Older crates separate alternatives by a slash.
            licenses=[LicenseFactory().make_from_string(licenses.strip().replace("/", " OR "))] if licenses.strip() else [],
        )


def packages(folder):
    """Yields a component for each of Debian's packages."""
    for path in sorted(folder.iterdir()):
        fields = dict(line.split(": ", 1) for line in path.read_text().splitlines() if re.match(r"\S+: ", line))
        name, version, architecture = fields["Package"], fields["Version"], fields["Architecture"]
        purl = PackageURL("deb", "debian", name, version, {"arch": architecture})
        yield Component(
            name=name, version=version, type=ComponentType.LIBRARY, bom_ref=purl.to_string(), purl=purl,
            description=fields.get("Description"),
        )


def cuda_runtime(version):
    """Returns the component of CUDA's runtime library."""
    purl = PackageURL("generic", "nvidia", "libcudart", version)
    return Component(
        name="libcudart", version=version, type=ComponentType.LIBRARY, bom_ref=purl.to_string(), purl=purl,
        description="CUDA's runtime library, under NVIDIA's license of the CUDA toolkit",
    )


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    for name in ("version", "level"):
        parser.add_argument(f"--{name}", required=True)
    parser.add_argument("--epoch", type=int, required=True)
    for name in ("crates", "lock", "packages", "output"):
        parser.add_argument(f"--{name}", type=pathlib.Path, required=True)
    parser.add_argument("--cuda", help="version of CUDA's runtime library, if the image contains it")
    arguments = parser.parse_args()
    image = f"sp1d-{arguments.version}-{arguments.level}"
    unique = {}
    cuda = [cuda_runtime(arguments.cuda)] if arguments.cuda else []
    for component in [*crates(arguments.crates, arguments.lock), *packages(arguments.packages), *cuda]:
        unique.setdefault(component.bom_ref.value, component)
    bom = Bom(components=unique.values())
    # The same content gets the same number and time.
    bom.serial_number = uuid.uuid5(uuid.NAMESPACE_URL, " ".join([image, *sorted(unique)]))
    bom.metadata.timestamp = datetime.fromtimestamp(arguments.epoch, timezone.utc)
    bom.metadata.component = Component(name="sp1d", version=arguments.version, type=ComponentType.CONTAINER, bom_ref=image)
    bom.register_dependency(bom.metadata.component, bom.components)
    text = make_outputter(bom, OutputFormat.JSON, SCHEMA).output_as_string(indent=2)
    if problem := JsonStrictValidator(SCHEMA).validate_str(text):
        sys.exit(f"error: the bill of materials is not valid: {problem}")
    arguments.output.write_text(text + "\n")
    print(f"{len(unique)} components", file=sys.stderr)


if __name__ == "__main__":
    main()
