#!/usr/bin/env python3
"""Compares the outputs that JSON schemas allow with an independent validator.

    schema_study.py --sampler build/release/bin/structured_sampler [--suite DIR] [--outputs 20]

Takes the schemas that pydantic makes of everyday models (schema_study_models.py), the shapes that zod
writes (schema_study_zod.py), and those of the JSON Schema Test Suite in the drafts 2020-12 and 7
(--suite: a checkout of json-schema-org/JSON-Schema-Test-Suite). Samples outputs of each, and validates
them with jsonschema, with format checking, patterns as ECMA-262 and decimal numbers as decimals. Also
tries the values of the suite: those that are not valid must not be accepted either. Some that are
valid are not generated, because objects are closed and in order, or because a type is implied.
Prints for each group how many schemas are accepted, which are refused and why, and which outputs are
wrong. Exits with 1 if an output is wrong, or if less than 95% of pydantic's schemas are accepted.

Needs: pip install -r tests/oracles/requirements-schema.txt
"""
import argparse
import collections
import decimal
import json
import pathlib
import re
import subprocess
import sys

import jsonschema
import jsonschema.validators
import regress

import schema_study_models
import schema_study_zod

decimal.getcontext().prec = 120

# Keywords of the suite whose schemas are in scope; the others ask for what is refused by name, or for
# schemas of other documents.
SUITE_FILES = """additionalProperties allOf anchor anyOf boolean_schema const default enum exclusiveMaximum
exclusiveMinimum format infinite-loop-detection items maxItems maxLength maxProperties maximum minItems
minLength minProperties minimum multipleOf not oneOf pattern patternProperties prefixItems properties
propertyNames ref required type uniqueItems additionalItems definitions optional/bignum
optional/float-overflow optional/ecmascript-regex optional/non-bmp-regex""".split()


def matches(pattern, text):
    return regress.Regex(pattern, "u").find(text) is not None


def check_pattern(validator, pattern, instance, schema):
    if isinstance(instance, str) and not matches(pattern, instance):
        yield jsonschema.ValidationError(f"{instance!r} does not match {pattern!r}")


def check_pattern_properties(validator, patterns, instance, schema):
    if not isinstance(instance, dict):
        return
    for pattern, subschema in patterns.items():
        for key, value in instance.items():
            if matches(pattern, key):
                yield from validator.descend(value, subschema, path=key, schema_path=pattern)


def check_additional_properties(validator, additional, instance, schema):
    if not isinstance(instance, dict):
        return
    for key, value in instance.items():
        if key in schema.get("properties", {}):
            continue
        if any(matches(pattern, key) for pattern in schema.get("patternProperties", {})):
            continue
        yield from validator.descend(value, additional, path=key)


OWN_CHECKS = {
    "pattern": check_pattern,
    "patternProperties": check_pattern_properties,
    "additionalProperties": check_additional_properties,
}


def without_open_api(schema):
    """Returns the schema with OpenAPI 3.0's "nullable" and "exclusiveMinimum": true as in later drafts."""
    if isinstance(schema, list):
        return [without_open_api(item) for item in schema]
    if not isinstance(schema, dict):
        return schema
    schema = {key: without_open_api(value) for key, value in schema.items()}
    if schema.get("nullable") is True and "type" in schema:
        types = schema["type"] if isinstance(schema["type"], list) else [schema["type"]]
        schema["type"] = types + ["null"]
    for exclusive, inclusive in (("exclusiveMinimum", "minimum"), ("exclusiveMaximum", "maximum")):
        if schema.get(exclusive) is True:
            schema[exclusive] = schema.pop(inclusive)
    return schema


def load(text):
    return json.loads(text, parse_float=decimal.Decimal)


def validator_of(schema, draft):
    default = jsonschema.Draft7Validator if draft == "draft7" else jsonschema.Draft202012Validator
    base = jsonschema.validators.validator_for(schema, default=default)
    return jsonschema.validators.extend(base, OWN_CHECKS)(schema, format_checker=base.FORMAT_CHECKER)


def suite_schemas(root):
    for draft in ("draft2020-12", "draft7"):
        for name in SUITE_FILES:
            path = pathlib.Path(root) / "tests" / draft / f"{name}.json"
            if not path.exists():
                continue
            for case in json.loads(path.read_text(), parse_float=decimal.Decimal):
                yield f"{draft}/{name}: {case['description']}", case["schema"], draft, case["tests"]


def encode(schema, **options):
    """Returns a value as JSON in one line, with the digits of its numbers."""
    marks = {}

    def mark(value):
        if isinstance(value, decimal.Decimal):
            marks[f"@{len(marks)}@"] = str(value)
            return f"@{len(marks) - 1}@"
        if isinstance(value, dict):
            return {key: mark(item) for key, item in value.items()}
        return [mark(item) for item in value] if isinstance(value, list) else value

    text = json.dumps(mark(schema), **options)
    return re.sub(r'"(@\d+@)"', lambda m: marks.get(m[1], m[0]), text)


def groups(arguments):
    yield "pydantic", [(name, schema, "draft2020-12", []) for name, schema in schema_study_models.schemas()]
    yield "zod", [(name, schema, "draft2020-12", []) for name, schema in schema_study_zod.SCHEMAS]
    if arguments.suite:
        yield "suite", list(suite_schemas(arguments.suite))


def compact(value):
    return encode(value, separators=(",", ":"), ensure_ascii=False)


def sample(sampler, cases, count):
    lines = "".join(json.dumps({"schema": encode(schema), "texts": [compact(test["data"]) for test in tests]}) +
                    "\n" for _, schema, _, tests in cases)
    done = subprocess.run([sampler, str(count)], input=lines, capture_output=True, text=True, check=True)
    return [json.loads(line) for line in done.stdout.splitlines()]


def wrong_outputs(schema, draft, outputs):
    validator = validator_of(without_open_api(load(encode(schema))), draft)
    for output in outputs:
        try:
            errors = [error.message for error in validator.iter_errors(load(output))]
        except json.JSONDecodeError as error:
            errors = [f"not JSON: {error}"]
        if errors:
            yield output, errors[0]


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--sampler", required=True)
    parser.add_argument("--suite")
    parser.add_argument("--outputs", type=int, default=20)
    arguments = parser.parse_args()

    failed = False
    total = 0
    for group, cases in groups(arguments):
        results = sample(arguments.sampler, cases, arguments.outputs)
        counts = collections.Counter()
        slowest = max(result["seconds"] for result in results)
        for (name, schema, draft, tests), result in zip(cases, results, strict=True):
            total += 1
            if "refused" in result:
                counts["refused"] += 1
                print(f"{group}: {name}: refused: {result['refused']}")
                continue
            counts["accepted"] += 1
            if result["warnings"]:
                print(f"{group}: {name}: warnings: {result['warnings']}")
            for output, error in wrong_outputs(schema, draft, result["outputs"]):
                counts["wrong"] += 1
                print(f"{group}: {name}: WRONG: {output[:300]}: {error[:300]}")
            for test, accepted in zip(tests, result.get("accepted") or [], strict=True):
                counts[f"{test['valid']} {accepted}"] += 1
                if accepted and not test["valid"]:
                    counts["wrong"] += 1
                    print(f"{group}: {name}: WRONG: accepts {compact(test['data'])}: {test['description']}")
        if counts["True True"]:
            print(f"{group}: of its values, {counts['False False']} of {counts['False False'] + counts['False True']} "
                  f"that are not valid are refused, and {counts['True True']} of "
                  f"{counts['True True'] + counts['True False']} that are valid are accepted")
        print(f"{group}: {len(cases)} schemas, {counts['accepted']} accepted, {counts['refused']} refused, "
              f"{counts['wrong']} wrong outputs; slowest to compile {slowest:.3f} s")
        failed = failed or counts["wrong"] > 0
        failed = failed or (group == "pydantic" and counts["accepted"] < 0.95 * len(cases))
    print(f"{total} schemas in total")
    sys.exit(1 if failed else 0)


if __name__ == "__main__":
    main()
