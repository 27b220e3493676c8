"""Everyday pydantic models for schema_study.py, and what their JSON schemas are."""
import datetime
import decimal
import enum
import ipaddress
import pathlib
import typing
import uuid
from typing import Annotated, Any, Dict, FrozenSet, Generic, List, Literal, Optional, Set, Tuple, TypeVar, Union

import annotated_types
import pydantic
import typing_extensions
from pydantic import BaseModel, ConfigDict, EmailStr, Field, RootModel, TypeAdapter


class Color(enum.Enum):
    RED = "red"
    GREEN = "green"
    BLUE = "blue"


class Level(enum.IntEnum):
    LOW = 1
    HIGH = 2


class Priority(str, enum.Enum):
    low = "low"
    high = "high"


class Country(str, enum.Enum):
    de, fr, it, es, pl, pt, nl, be, at, se = "de", "fr", "it", "es", "pl", "pt", "nl", "be", "at", "se"


class Address(BaseModel):
    street: str
    city: str
    zip_code: str = Field(pattern=r"^\d{5}(-\d{4})?$")
    country: str = "US"


class Person(BaseModel):
    name: str
    age: int = Field(ge=0, le=150)
    email: Optional[str] = None


class PersonWithAddress(Person):
    address: Address
    others: List[Address] = []


class Cat(BaseModel):
    kind: Literal["cat"]
    lives: int


class Dog(BaseModel):
    kind: Literal["dog"]
    good: bool = True


class Lizard(BaseModel):
    kind: Literal["lizard", "gecko"]
    scales: Optional[int] = None


class Pet(BaseModel):
    pet: Union[Cat, Dog, Lizard] = Field(discriminator="kind")


class DefaultCat(BaseModel):
    kind: Literal["cat"] = "cat"
    name: str


class DefaultDog(BaseModel):
    kind: Literal["dog"] = "dog"
    name: str


class DefaultPets(BaseModel):
    pets: List[Annotated[Union[DefaultCat, DefaultDog], Field(discriminator="kind")]]


class BlackCat(BaseModel):
    kind: Literal["cat"]
    color: Literal["black"]


class WhiteCat(BaseModel):
    kind: Literal["cat"]
    color: Literal["white"]


AnyCat = Annotated[Union[BlackCat, WhiteCat], Field(discriminator="color")]


class NestedPet(BaseModel):
    pet: Annotated[Union[AnyCat, Dog], Field(discriminator="kind")]


def tag_of(value):
    return "text" if isinstance(value, (str, dict)) and not isinstance(value, dict) else "model"


class CallableTag(BaseModel):
    item: Annotated[
        Union[Annotated[str, pydantic.Tag("text")], Annotated[Person, pydantic.Tag("model")]],
        pydantic.Discriminator(tag_of)]


class EnumTagA(BaseModel):
    color: Literal[Color.RED]
    a: int


class EnumTagB(BaseModel):
    color: Literal[Color.GREEN, Color.BLUE]
    b: str


class EnumTags(BaseModel):
    item: Annotated[Union[EnumTagA, EnumTagB], Field(discriminator="color")]


class PlainUnion(BaseModel):
    value: Union[int, str, List[int], None]
    either: Union[Cat, Dog]


class Node(BaseModel):
    value: int
    children: List["Node"] = []


class LinkedList(BaseModel):
    head: str
    tail: Optional["LinkedList"] = None


class Expression(BaseModel):
    op: Literal["add", "mul"]
    left: Union["Expression", float]
    right: Union["Expression", float]


class Strings(BaseModel):
    a: str = Field(min_length=1)
    b: str = Field(max_length=10)
    c: str = Field(min_length=2, max_length=4)
    d: str = Field(pattern="^[A-Z]{2,}$", max_length=8)
    e: Annotated[str, pydantic.StringConstraints(pattern=r"^[\w.-]+$", min_length=3, max_length=32)]
    f: Annotated[str, pydantic.StringConstraints(strip_whitespace=True, to_lower=True)]


class Slug(BaseModel):
    slug: Annotated[str, Field(pattern=r"^[a-z0-9]+(?:-[a-z0-9]+)*$", min_length=1, max_length=255)]


class Numbers(BaseModel):
    a: int = Field(gt=0)
    b: int = Field(ge=-10, lt=10)
    c: float = Field(gt=0, le=1)
    d: float = Field(multiple_of=0.5)
    e: int = Field(multiple_of=5, ge=0, le=100)
    f: pydantic.PositiveInt
    g: pydantic.NonNegativeFloat
    h: pydantic.NegativeInt
    i: pydantic.FiniteFloat


class Int64(BaseModel):
    id: int = Field(ge=-2**63, le=2**63 - 1)
    unsigned: int = Field(ge=0, le=2**64 - 1)


class Money(BaseModel):
    price: decimal.Decimal
    tax: decimal.Decimal = Field(max_digits=10, decimal_places=2)
    limit: decimal.Decimal = Field(gt=0, le=100)
    cents: float = Field(multiple_of=0.01, ge=0, le=1000)


class Times(BaseModel):
    at: datetime.datetime
    day: datetime.date
    time: datetime.time
    duration: datetime.timedelta
    past: pydantic.PastDate
    aware: pydantic.AwareDatetime


class Network(BaseModel):
    v4: ipaddress.IPv4Address
    v6: ipaddress.IPv6Address
    net: ipaddress.IPv4Network
    any: pydantic.IPvAnyAddress


class Web(BaseModel):
    http: pydantic.HttpUrl
    any: pydantic.AnyUrl
    email: EmailStr
    id: uuid.UUID
    id4: pydantic.UUID4


class Files(BaseModel):
    path: pathlib.Path
    file: pydantic.FilePath
    data: bytes
    encoded: pydantic.Base64Bytes
    secret: pydantic.SecretStr
    blob: pydantic.Json


class Collections(BaseModel):
    a: List[int] = Field(min_length=1, max_length=3)
    b: Tuple[int, str]
    c: Tuple[int, ...]
    d: Dict[str, int]
    e: Dict[str, List[float]] = Field(min_length=1)
    f: Tuple[str, int, bool]
    g: List[List[int]]


class FixedTuple(BaseModel):
    point: Tuple[float, float, float]
    pair: Tuple[Literal["x"], Optional[int]] = ("x", None)


class Point(typing.NamedTuple):
    x: int
    y: int = 0


class WithNamedTuple(BaseModel):
    point: Point


class EnumSets(BaseModel):
    colors: Set[Color]
    levels: FrozenSet[Level]
    flags: Set[Literal["a", "b", "c"]] = Field(min_length=1, max_length=2)
    bools: Set[bool]
    countries: Set[Country]


class TextSet(BaseModel):
    tags: Set[str]


class Mappings(BaseModel):
    a: Dict[Color, int]
    b: Dict[Literal["x", "y"], str]
    c: Dict[Annotated[str, Field(pattern="^[a-z]+$")], int]
    d: Dict[int, str]
    e: Dict[Annotated[str, Field(min_length=1, max_length=3)], bool]
    f: Dict[uuid.UUID, int]
    g: Dict[datetime.date, float]


class Enums(BaseModel):
    color: Color
    level: Level
    priority: Priority = Priority.low
    maybe: Optional[Color] = None


class Literals(BaseModel):
    a: Literal["x"]
    b: Literal[1, 2, 3]
    c: Literal["x", 1, True, None]
    d: Optional[Literal["y", "z"]] = None


class Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)
    a: int
    b: Optional[str]


class Extra(BaseModel):
    model_config = ConfigDict(extra="allow")
    a: int


class TypedExtra(BaseModel):
    model_config = ConfigDict(extra="allow")
    __pydantic_extra__: Dict[str, int]
    a: str


class Aliases(BaseModel):
    first_name: str = Field(alias="firstName")
    last_name: str = Field(validation_alias="lastName", serialization_alias="surname")


class Described(BaseModel):
    """A documented model."""
    model_config = ConfigDict(title="A title", json_schema_extra={"examples": [{"a": 1}]})
    a: int = Field(description="an integer", examples=[1, 2], title="The A", deprecated=True)
    b: Color = Field(default=Color.RED, description="a described reference")
    c: Optional[Address] = Field(default=None, description="an address")


class ExtraKeywords(BaseModel):
    a: str = Field(json_schema_extra={"widget": "textarea", "x-order": 3})
    b: int = Field(json_schema_extra={"format": "int32"})


T = TypeVar("T")


class Page(BaseModel, Generic[T]):
    items: List[T]
    total: int
    next: Optional[str] = None


class PersonPage(BaseModel):
    page: Page[Person]


class Computed(BaseModel):
    width: float
    height: float

    @pydantic.computed_field
    @property
    def area(self) -> float:
        return self.width * self.height


class Anything(BaseModel):
    value: Any
    data: Dict[str, Any]
    items: List[Any]
    object: dict
    array: list


class NullOnly(BaseModel):
    nothing: None
    maybe: Optional[int]


class Ids(RootModel[List[int]]):
    pass


class NameMap(RootModel[Dict[str, Person]]):
    pass


class OneOfNumbers(BaseModel):
    value: Union[Annotated[int, Field(ge=0)], Annotated[str, Field(max_length=3)]]


@pydantic.dataclasses.dataclass
class Item:
    name: str
    price: float = 0.0
    tags: List[str] = Field(default_factory=list)


class Movie(typing_extensions.TypedDict, total=False):
    title: typing_extensions.Required[str]
    year: int


class WithTypedDict(BaseModel):
    movie: Movie
    item: Item


class Inner(BaseModel):
    x: Annotated[int, annotated_types.Interval(ge=0, le=9)]


class Deep(BaseModel):
    a: Dict[str, List[Optional[Dict[str, Inner]]]]


class Extraction(BaseModel):
    """What a request for extraction typically asks for."""
    summary: str = Field(max_length=280)
    sentiment: Literal["positive", "neutral", "negative"]
    confidence: float = Field(ge=0, le=1)
    entities: List[Dict[str, str]] = Field(max_length=20)
    language: str = Field(pattern="^[a-z]{2}(-[A-Z]{2})?$")


class Invoice(BaseModel):
    number: str = Field(pattern=r"^INV-\d{4,8}$")
    date: datetime.date
    currency: Literal["EUR", "USD", "GBP"]
    lines: List[Item] = Field(min_length=1)
    total: decimal.Decimal = Field(ge=0, decimal_places=2)
    paid: bool = False


class ToolCall(BaseModel):
    name: Literal["search", "calculate"]
    arguments: Dict[str, Union[str, int, float, bool, None]]


class Step(BaseModel):
    explanation: str
    output: str


class Reasoning(BaseModel):
    steps: List[Step]
    final_answer: str


class SearchAction(BaseModel):
    type: Literal["search"]
    query: str = Field(min_length=1)


class FinishAction(BaseModel):
    type: Literal["finish"]
    answer: Optional[str] = None


class Agent(BaseModel):
    thought: str
    action: Annotated[Union[SearchAction, FinishAction], Field(discriminator="type")]


class Recursive(BaseModel):
    name: str
    parent: Optional["Recursive"] = None
    links: Dict[str, "Recursive"] = {}


class CreditCard(BaseModel):
    number: Annotated[str, Field(pattern=r"^\d{4}([ -]?\d{4}){3}$")]
    month: int = Field(ge=1, le=12)
    cvv: str = Field(min_length=3, max_length=4, pattern=r"^[0-9]+$")


class Phone(BaseModel):
    number: str = Field(pattern=r"^\+?[1-9]\d{1,14}$")


class Password(BaseModel):
    password: str = Field(min_length=8, max_length=64, pattern=r"^\S+$")


class LookAhead(BaseModel):
    password: str


class HexColor(BaseModel):
    color: str = Field(pattern=r"^#(?:[0-9a-fA-F]{3}){1,2}$")


class SemVer(BaseModel):
    version: str = Field(pattern=r"^(0|[1-9]\d*)\.(0|[1-9]\d*)\.(0|[1-9]\d*)$")


class Geo(BaseModel):
    lat: float = Field(ge=-90, le=90)
    lon: float = Field(ge=-180, le=180)


class LongText(BaseModel):
    text: str = Field(max_length=50000)
    items: List[str] = Field(max_length=20000)


class BigModel(BaseModel):
    a: Person
    b: Pet
    c: Collections
    d: Times
    e: Web
    f: Enums


MODELS = [
    Address, Person, PersonWithAddress, Pet, DefaultPets, NestedPet, CallableTag, EnumTags, PlainUnion, Node,
    LinkedList, Expression, Strings, Slug, Numbers, Int64, Money, Times, Network, Web, Files, Collections,
    FixedTuple, WithNamedTuple, EnumSets, TextSet, Mappings, Enums, Literals, Strict, Extra, TypedExtra,
    Aliases, Described, ExtraKeywords, PersonPage, Computed, Anything, NullOnly, Ids, NameMap, OneOfNumbers,
    WithTypedDict, Deep, Extraction, Invoice, ToolCall, Reasoning, Agent, Recursive, CreditCard, Phone,
    Password, LookAhead, HexColor, SemVer, Geo, LongText, BigModel,
]

TYPES = {
    "int": int, "str": str, "float": float, "bool": bool, "bytes": bytes, "decimal": decimal.Decimal,
    "list[int]": List[int], "optional": Optional[int], "literal": Literal["a", "b"], "enum": Color,
    "date": datetime.date, "datetime": datetime.datetime, "time": datetime.time,
    "timedelta": datetime.timedelta, "uuid": uuid.UUID, "url": pydantic.HttpUrl, "email": EmailStr,
    "union": Union[int, str], "tuple": Tuple[int, str], "dict": Dict[str, int], "any": Any,
    "list[model]": List[Person], "union of models": Union[Cat, Dog], "typed dict": Movie, "dataclass": Item,
    "discriminated": Annotated[Union[Cat, Dog], Field(discriminator="kind")],
    "constrained list": Annotated[List[Annotated[int, Field(gt=0)]], Field(min_length=2, max_length=5)],
    "multiple": Annotated[int, Field(multiple_of=3)], "percent": Annotated[float, Field(ge=0, le=100)],
    "step": Annotated[float, Field(multiple_of=0.25, gt=-2, lt=2)], "ipv4": ipaddress.IPv4Address,
    "set of literals": Set[Literal["a", "b", "c"]], "frozenset of enum": FrozenSet[Color],
    "dict of enum": Dict[Color, Person], "sequence": typing.Sequence[str], "set[str]": Set[str],
}


def schemas():
    for model in MODELS:
        yield model.__name__, model.model_json_schema()
    for model in (Computed, Aliases, Money, Times):
        yield f"{model.__name__} (serialization)", model.model_json_schema(mode="serialization")
    for name, kind in TYPES.items():
        yield f"type {name}", TypeAdapter(kind).json_schema()
