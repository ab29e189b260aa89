"""One JSON text inside an XMP packet, where Photoshop and other editors keep it when they save."""

from __future__ import annotations

from xml.etree import ElementTree
from xml.sax.saxutils import quoteattr

_NAMESPACE = "urn:multiplane:document:1#"
_RDF = "http://www.w3.org/1999/02/22-rdf-syntax-ns#"
_ATTRIBUTE = f"{{{_NAMESPACE}}}document"
_MAX_BYTES = 16 << 20


def wrap(json: str) -> bytes:
    """An XMP packet (ISO 16684-1) that holds `json`, which must be ASCII."""
    return (
        '<?xpacket begin="\ufeff" id="W5M0MpCehiHzreSzNTczkc9d"?>\n'
        '<x:xmpmeta xmlns:x="adobe:ns:meta/">\n'
        f' <rdf:RDF xmlns:rdf="{_RDF}">\n'
        f'  <rdf:Description rdf:about="" xmlns:multiplane="{_NAMESPACE}"\n'
        f"   multiplane:document={quoteattr(json)}/>\n"
        " </rdf:RDF>\n"
        "</x:xmpmeta>\n"
        '<?xpacket end="w"?>'
    ).encode()


def unwrap(packet: bytes) -> str | None:
    """The text `wrap` put in, also after another program rewrote the packet; None without one.

    Raises ValueError for a packet that is no XML, defines entities, or is past 16 MB."""
    if len(packet) > _MAX_BYTES:
        raise ValueError(f"XMP of {len(packet):,} bytes")
    if b"<!DOCTYPE" in packet or b"<!ENTITY" in packet:
        raise ValueError("XMP that defines entities")
    if _NAMESPACE.encode() not in packet:
        return None
    try:
        root = ElementTree.fromstring(packet.decode("utf-8").strip("\ufeff\0 \n\r\t"))
    except ElementTree.ParseError as error:
        raise ValueError(f"XMP is no XML: {error}") from error
    for element in root.iter():  # a property may be written as an attribute or as an element
        if _ATTRIBUTE in element.attrib:
            return element.attrib[_ATTRIBUTE]
        if element.tag == _ATTRIBUTE:
            return element.text
    return None
