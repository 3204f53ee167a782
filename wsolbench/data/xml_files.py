"""Reading XML that others wrote."""

import xml.etree.ElementTree as ET

from wsolbench.errors import UserError


class _NoDocumentType(ET.TreeBuilder):
    """Refuses what XML could define entities with, which expand without limit."""

    def doctype(self, name: str, pubid: str | None, system: str | None) -> None:
        raise ValueError("it has a document type, which is not read")


def read_xml(data: bytes, label: str) -> ET.Element:
    """Parse an XML file.

    Args:
        data: the file's bytes.
        label: how to call the file in the error.

    Returns:
        Its root element.

    Raises:
        UserError: it is no XML, or has a document type.
    """
    parser = ET.XMLParser(target=_NoDocumentType())  # noqa: S314 - no entity can be defined without a document type
    try:
        parser.feed(data)
        root: ET.Element = parser.close()
    except (ET.ParseError, ValueError, LookupError) as error:
        raise UserError(f"{label} is no XML ({error}); expected annotations, so download it again") from None
    return root
