r"""Shapes of schemas that zod writes, for schema_study.py.

Those of z.toJSONSchema of zod 4 are draft 2020-12, those of zod-to-json-schema (zod 3) draft 7, with or
without the "openApi3" target. They are written down here so that the study needs no JavaScript.
"""
V4 = {"$schema": "https://json-schema.org/draft/2020-12/schema"}
V3 = {"$schema": "http://json-schema.org/draft-07/schema#"}
SAFE = {"type": "integer", "minimum": -9007199254740991, "maximum": 9007199254740991}

EMAIL = (r"^(?!\.)(?!.*\.\.)([A-Za-z0-9_'+\-\.]*)[A-Za-z0-9_+-]@"
         r"([A-Za-z0-9][A-Za-z0-9\-]*\.)+[A-Za-z]{2,}$")
UUID = (r"^([0-9a-fA-F]{8}-[0-9a-fA-F]{4}-[1-8][0-9a-fA-F]{3}-[89abAB][0-9a-fA-F]{3}-[0-9a-fA-F]{12}"
        r"|00000000-0000-0000-0000-000000000000|ffffffff-ffff-ffff-ffff-ffffffffffff)$")
DATE = (r"^(?:(?:\d\d[2468][048]|\d\d[13579][26]|\d\d0[48]|[02468][048]00|[13579][26]00)-02-29|"
        r"\d{4}-(?:(?:0[13578]|1[02])-(?:0[1-9]|[12]\d|3[01])|(?:0[469]|11)-(?:0[1-9]|[12]\d|30)|"
        r"(?:02)-(?:0[1-9]|1\d|2[0-8])))$")
DATETIME = DATE[:-1] + r"T(?:(?:[01]\d|2[0-3]):[0-5]\d(?::[0-5]\d(?:\.\d+)?)?(?:Z))$"
IPV4 = r"^(?:(?:25[0-5]|2[0-4][0-9]|1[0-9][0-9]|[1-9][0-9]|[0-9])\.){3}(?:25[0-5]|2[0-4][0-9]|1[0-9][0-9]|[1-9][0-9]|[0-9])$"
BASE64 = r"^$|^(?:[0-9a-zA-Z+/]{4})*(?:(?:[0-9a-zA-Z+/]{2}==)|(?:[0-9a-zA-Z+/]{3}=))?$"
HOSTNAME = (r"^(?=.{1,253}\.?$)[a-zA-Z0-9](?:[a-zA-Z0-9-]{0,61}[a-zA-Z0-9])?"
            r"(?:\.[a-zA-Z0-9](?:[-0-9a-zA-Z]{0,61}[0-9a-zA-Z])?)*\.?$")
DURATION = (r"^P(?:(\d+W)|(?!.*W)(?=\d|T\d)(\d+Y)?(\d+M)?(\d+D)?"
            r"(T(?=\d)(\d+H)?(\d+M)?(\d+([.,]\d+)?S)?)?)$")


def v4(schema):
    return {**V4, **schema}


def v3(schema):
    return {**V3, **schema}


def strict(properties, required=None, **more):
    return {"type": "object", "properties": properties,
            "required": list(properties) if required is None else required,
            "additionalProperties": False, **more}


def text(**more):
    return {"type": "string", **more}


USER = strict({"id": text(format="uuid", pattern=UUID), "name": text(minLength=1, maxLength=100),
               "email": text(format="email", pattern=EMAIL), "age": {**SAFE, "minimum": 0}},
              ["id", "name", "email"])
CIRCLE = strict({"type": text(const="circle"), "radius": {"type": "number"}})
SQUARE = strict({"type": text(const="square"), "side": {"type": "number", "exclusiveMinimum": 0}})

SCHEMAS = [
    ("v4 string", v4(text())),
    ("v4 string min max", v4(text(minLength=2, maxLength=10))),
    ("v4 email", v4(text(format="email", pattern=EMAIL))),
    ("v4 email max", v4(text(format="email", pattern=EMAIL, maxLength=255))),
    ("v4 email short", v4(text(format="email", pattern=EMAIL, minLength=8, maxLength=40))),
    ("v4 uuid", v4(text(format="uuid", pattern=UUID))),
    ("v4 guid", v4(text(format="uuid", pattern=UUID.replace("[1-8]", "[0-9a-fA-F]")))),
    ("v4 url", v4(text(format="uri"))),
    ("v4 url max", v4(text(format="uri", maxLength=2048))),
    ("v4 date", v4(text(format="date", pattern=DATE))),
    ("v4 datetime", v4(text(format="date-time", pattern=DATETIME))),
    ("v4 time", v4(text(format="time", pattern=r"^(?:[01]\d|2[0-3]):[0-5]\d(?::[0-5]\d(?:\.\d+)?)?$"))),
    ("v4 duration", v4(text(format="duration", pattern=DURATION))),
    ("v4 ipv4", v4(text(format="ipv4", pattern=IPV4))),
    ("v4 base64", v4(text(format="base64", contentEncoding="base64", pattern=BASE64))),
    ("v4 hostname", v4(text(format="hostname", pattern=HOSTNAME))),
    ("v4 cuid2", v4(text(format="cuid2", pattern="^[0-9a-z]+$"))),
    ("v4 ulid", v4(text(format="ulid", pattern="^[0-9A-HJKMNP-TV-Za-hjkmnp-tv-z]{26}$"))),
    ("v4 nanoid", v4(text(format="nanoid", pattern="^[a-zA-Z0-9_-]{21}$"))),
    ("v4 jwt", v4(text(format="jwt"))),
    ("v4 e164", v4(text(format="e164", pattern=r"^\+(?:[0-9]){6,14}[0-9]$"))),
    ("v4 emoji", v4(text(format="emoji", pattern=r"^(\p{Extended_Pictographic}|\p{Emoji_Component})+$"))),
    ("v4 startsWith", v4(text(pattern="^https:.*"))),
    ("v4 includes", v4(text(pattern="@"))),
    ("v4 two checks", v4({"type": "string", "allOf": [{"pattern": "^a.*"}, {"pattern": ".*z$"}]})),
    ("v4 regex lower", v4(text(format="lowercase", pattern="^[^A-Z]*$", maxLength=20))),
    ("v4 number", v4({"type": "number"})),
    ("v4 int", v4(SAFE)),
    ("v4 int32", v4({"type": "integer", "minimum": -2147483648, "maximum": 2147483647})),
    ("v4 float32", v4({"type": "number", "minimum": -3.4028234663852886e38, "maximum": 3.4028234663852886e38})),
    ("v4 float64", v4({"type": "number", "minimum": -1.7976931348623157e308, "maximum": 1.7976931348623157e308})),
    ("v4 positive int", v4({"type": "integer", "exclusiveMinimum": 0, "maximum": 9007199254740991})),
    ("v4 multipleOf", v4({"type": "number", "multipleOf": 0.1, "minimum": -5, "maximum": 5})),
    ("v4 boolean", v4({"type": "boolean"})),
    ("v4 null", v4({"type": "null"})),
    ("v4 any", v4({})),
    ("v4 never in object", v4({"type": "object", "properties": {"a": {"not": {}}, "b": text()},
                               "required": ["b"], "additionalProperties": False})),
    ("v4 literal", v4(text(const="tuna"))),
    ("v4 literals", v4({"type": "number", "enum": [1, 2, 3]})),
    ("v4 mixed literals", v4({"enum": ["a", 1, True, None]})),
    ("v4 enum", v4(text(enum=["Salmon", "Tuna"]))),
    ("v4 nullable", v4({"anyOf": [text(), {"type": "null"}]})),
    ("v4 object", v4(USER)),
    ("v4 loose object", v4({**USER, "additionalProperties": {}})),
    ("v4 input object", v4({"type": "object", "properties": {"a": text(), "b": {"default": 1, "type": "number"}},
                            "required": ["a"]})),
    ("v4 catchall", v4(strict({"a": text()}, additionalProperties={"type": "number"}))),
    ("v4 array", v4({"type": "array", "items": text(), "minItems": 1, "maxItems": 3})),
    ("v4 tuple", v4({"type": "array", "prefixItems": [text(), {"type": "number"}]})),
    ("v4 tuple rest", v4({"type": "array", "prefixItems": [text()], "items": {"type": "boolean"}})),
    ("v4 record", v4({"type": "object", "propertyNames": text(), "additionalProperties": {"type": "number"}})),
    ("v4 record of enum", v4({"type": "object", "propertyNames": text(enum=["id", "name"]),
                              "additionalProperties": text(), "required": ["id", "name"]})),
    ("v4 partial record", v4({"type": "object", "propertyNames": text(enum=["a", "b"]),
                              "additionalProperties": SAFE})),
    ("v4 union", v4({"anyOf": [text(), {"type": "number"}, USER]})),
    ("v4 discriminated union", v4({"anyOf": [CIRCLE, SQUARE]})),
    ("v4 exclusive union", v4({"oneOf": [CIRCLE, SQUARE]})),
    ("v4 exclusive objects", v4({"oneOf": [strict({"a": text()}), strict({"b": text()})]})),
    ("v4 intersection", v4({"allOf": [{"type": "object", "properties": {"a": text()}, "required": ["a"]},
                                      {"type": "object", "properties": {"b": SAFE}, "required": ["b"]}]})),
    ("v4 recursive", v4({"type": "object", "properties": {
        "name": text(), "subcategories": {"type": "array", "items": {"$ref": "#"}}},
        "required": ["name", "subcategories"], "additionalProperties": False})),
    ("v4 reused", v4({"type": "object", "properties": {"a": {"$ref": "#/$defs/__schema0"},
                                                       "b": {"$ref": "#/$defs/__schema0"}},
                      "required": ["a", "b"], "additionalProperties": False,
                      "$defs": {"__schema0": strict({"x": SAFE})}})),
    ("v4 registry", v4({"type": "object", "properties": {"u": {"$ref": "#/$defs/User"}}, "required": ["u"],
                        "additionalProperties": False, "$defs": {"User": {"id": "User", **USER}}})),
    ("v4 described", v4(text(title="T", description="d", examples=["x"], deprecated=True, default="x"))),
    ("v4 readonly", v4({"readOnly": True, **strict({"a": text()})})),
    ("v4 file", v4(text(format="binary", contentEncoding="binary", minLength=1))),
    ("v4 template literal", v4(text(pattern=r"^\d+px$"))),
    ("v4 json", v4({"$ref": "#/$defs/__schema0", "$defs": {"__schema0": {"anyOf": [
        text(), {"type": "number"}, {"type": "boolean"}, {"type": "null"},
        {"type": "array", "items": {"$ref": "#/$defs/__schema0"}},
        {"type": "object", "propertyNames": text(), "additionalProperties": {"$ref": "#/$defs/__schema0"}}]}}})),
    ("v3 object", v3(strict({"a": text(minLength=1), "b": {"type": "integer", "exclusiveMinimum": 0}}, ["a"]))),
    ("v3 nullable", v3(strict({"a": {"type": ["string", "null"]}, "b": {"type": ["integer", "null"], "minimum": 0}}))),
    ("v3 nullable object", v3({"anyOf": [strict({"a": text()}), {"type": "null"}]})),
    ("v3 union of primitives", v3({"type": ["string", "number", "boolean"]})),
    ("v3 tuple", v3({"type": "array", "minItems": 2, "maxItems": 2, "items": [text(), {"type": "number"}]})),
    ("v3 tuple rest", v3({"type": "array", "minItems": 1, "items": [text()], "additionalItems": {"type": "number"}})),
    ("v3 record", v3({"type": "object", "additionalProperties": {"type": "number"}})),
    ("v3 record of keys", v3({"type": "object", "additionalProperties": {"type": "number"},
                              "propertyNames": {"minLength": 2, "maxLength": 5}})),
    ("v3 record of enum", v3({"type": "object", "additionalProperties": text(),
                              "propertyNames": {"enum": ["a", "b"]}})),
    ("v3 intersection", v3({"allOf": [{"type": "object", "properties": {"a": text()}, "required": ["a"]},
                                      {"type": "object", "properties": {"b": text()}, "required": ["b"]}]})),
    ("v3 named", v3({"$ref": "#/definitions/mySchema", "definitions": {"mySchema": USER}})),
    ("v3 relative", v3({"type": "object", "properties": {"a": strict({"x": text()}),
                                                         "b": {"$ref": "#/properties/a"}},
                        "required": ["a", "b"], "additionalProperties": False})),
    ("v3 set of enum", v3({"type": "array", "uniqueItems": True, "items": text(enum=["a", "b", "c"]), "minItems": 1})),
    ("v3 set of strings", v3({"type": "array", "uniqueItems": True, "items": text()})),
    ("v3 map", v3({"type": "array", "maxItems": 125, "items": {
        "type": "array", "items": [text(), {"type": "number"}], "minItems": 2, "maxItems": 2}})),
    ("v3 bigint", v3({"type": "integer", "format": "int64"})),
    ("v3 native enum", v3({"type": ["string", "number"], "enum": ["a", 1]})),
    ("v3 literal null", v3({"type": "null"})),
    ("v3 literal", v3({"type": "string", "const": "x"})),
    ("v3 never", v3(strict({"a": text(), "b": {"not": {}}}, ["a"]))),
    ("v3 datetime", v3(text(format="date-time"))),
    ("v3 email", v3(text(format="email", minLength=5))),
    ("v3 emoji", v3(text(pattern=r"^(\p{Extended_Pictographic}|\p{Emoji_Component})+$"))),
    ("v3 two patterns", v3({"type": "string", "allOf": [{"pattern": "^[a-z]+$"}, {"pattern": "x"}], "maxLength": 8})),
    ("v3 two formats", v3({"type": "string", "anyOf": [{"format": "ipv4"}, {"format": "ipv6"}]})),
    ("v3 effects", v3({"type": "number", "multipleOf": 5, "minimum": 0, "maximum": 100})),
    ("v3 discriminated union", v3({"anyOf": [CIRCLE, SQUARE]})),
    ("openApi3 nullable", {"type": "string", "nullable": True, "maxLength": 5}),
    ("openApi3 exclusive", {"type": "number", "minimum": 0, "exclusiveMinimum": True}),
    ("openApi3 tuple", {"type": "array", "minItems": 2, "maxItems": 2,
                        "items": {"anyOf": [text(), {"type": "number"}]}}),
    ("openApi3 discriminator", {"oneOf": [CIRCLE, SQUARE], "discriminator": {"propertyName": "type"}}),
]
