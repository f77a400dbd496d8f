"""The payload of Sparkplug B (specification 3.0.0, 6.4) as protobuf messages: the fields that numbers need.

Protobuf skips the others. The descriptor has a pool of its own, so that no other one in the process is in its way.
"""

from typing import Any

from google.protobuf import descriptor_pb2, descriptor_pool, message_factory

_PACKAGE = "uem.sparkplug"
_VALUE = ("int_value", "long_value", "float_value", "double_value", "boolean_value", "string_value")
_VALUE_TYPES = ("uint32", "uint64", "float", "double", "bool", "string")
# Message -> (field, number, type); a * stands for repeated.
_MESSAGES: dict[str, list[tuple[str, int, str]]] = {
    "PropertyValue": [
        ("type", 1, "uint32"),
        ("is_null", 2, "bool"),
        *zip(_VALUE, range(3, 9), _VALUE_TYPES, strict=True),
    ],
    "PropertySet": [("keys", 1, "*string"), ("values", 2, "*PropertyValue")],
    "Metric": [
        ("name", 1, "string"),
        ("alias", 2, "uint64"),
        ("timestamp", 3, "uint64"),
        ("datatype", 4, "uint32"),
        ("is_historical", 5, "bool"),
        ("is_null", 7, "bool"),
        ("properties", 9, "PropertySet"),
        *zip(_VALUE, range(10, 16), _VALUE_TYPES, strict=True),
    ],
    "Payload": [("timestamp", 1, "uint64"), ("metrics", 2, "*Metric"), ("seq", 3, "uint64")],
}


def _payload_class() -> Any:
    field_proto = descriptor_pb2.FieldDescriptorProto
    file = descriptor_pb2.FileDescriptorProto(name="uem/sparkplug/payload.proto", package=_PACKAGE, syntax="proto2")
    for message, fields in _MESSAGES.items():
        described = file.message_type.add(name=message)
        for name, number, kind in fields:
            label = field_proto.LABEL_REPEATED if kind.startswith("*") else field_proto.LABEL_OPTIONAL
            field = described.field.add(name=name, number=number, label=label)
            kind = kind.lstrip("*")
            if kind in _MESSAGES:
                field.type, field.type_name = field_proto.TYPE_MESSAGE, f".{_PACKAGE}.{kind}"
            else:
                field.type = field_proto.Type.Value(f"TYPE_{kind.upper()}")
        if {*_VALUE} <= {name for name, _, _ in fields}:
            described.oneof_decl.add(name="value")
            for field in described.field:
                if field.name in _VALUE:
                    field.oneof_index = 0
    pool = descriptor_pool.DescriptorPool()
    pool.Add(file)
    return message_factory.GetMessageClass(pool.FindMessageTypeByName(f"{_PACKAGE}.Payload"))


Payload: Any = _payload_class()
