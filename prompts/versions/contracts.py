"""Declares the variables, parameters and answer schema of every prompt.

A contract is code, because the code around a prompt depends on it; the text is data. A stored version is served
only while its contract version is the one here: bump `version` when variables or the schema change their meaning.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

from django.utils.functional import Promise
from django.utils.translation import gettext_lazy as _

from prompts.errors import UnknownContract

Text = str | Promise
ParamValue = int | float | bool | str


@dataclass(frozen=True, kw_only=True)
class Variable:
    """One `{{ name }}` that a text may use."""

    name: str
    label: Text
    help: Text
    sample: str
    required: bool = True
    #: The same for every member, so the system text may use it.
    shared: bool = False
    #: Text from outside (song titles): rendered between marks that its author cannot know.
    fenced: bool = False


@dataclass(frozen=True, kw_only=True)
class Param:
    """One parameter of a version, edited as a form field."""

    name: str
    label: Text
    help: Text
    kind: Literal["int", "float", "choice"]
    default: ParamValue
    least: float = 0
    most: float = 0
    choices: tuple[tuple[str, Text], ...] = ()


@dataclass(frozen=True, kw_only=True)
class Contract:
    """Variables and parameters of a prompt, and the JSON schema of its answer."""

    key: str
    version: int
    title: Text
    purpose: Text
    variables: tuple[Variable, ...]
    params: tuple[Param, ...]
    schema: dict[str, Any]

    def variable(self, name: str) -> Variable | None:
        return next((item for item in self.variables if item.name == name), None)

    @property
    def names(self) -> frozenset[str]:
        return frozenset(item.name for item in self.variables)

    def defaults(self) -> dict[str, ParamValue]:
        return {param.name: param.default for param in self.params}

    def samples(self) -> dict[str, str]:
        """A synthetic member, enough to render every text of this contract."""
        return {item.name: item.sample for item in self.variables}


_registry: dict[str, Contract] = {}


def register(contract: Contract) -> Contract:
    """Register a contract; layers above register theirs in AppConfig.ready()."""
    _registry[contract.key] = contract
    return contract


def contract(key: str) -> Contract:
    """Raises UnknownContract."""
    try:
        return _registry[key]
    except KeyError:
        raise UnknownContract(
            f"No contract {key!r} is registered. Known: {', '.join(sorted(_registry))}."
        ) from None


def known_contracts() -> tuple[Contract, ...]:
    return tuple(_registry.values())


def _object(**properties: Any) -> dict[str, Any]:
    """A strict JSON schema: every property required, nothing else allowed."""
    return {
        "type": "object",
        "properties": properties,
        "required": list(properties),
        "additionalProperties": False,
    }


_STRING = {"type": "string"}
_STRINGS = {"type": "array", "items": _STRING}
_INTEGERS = {"type": "array", "items": {"type": "integer"}}

_LOCALE = Variable(
    name="locale",
    label=_("언어"),
    help=_("답할 언어의 이름: 한국어, 일본어, 영어."),
    sample="한국어",
    shared=True,
)


def _common_params(*, max_output_tokens: int, temperature: float) -> tuple[Param, ...]:
    return (
        Param(
            name="temperature",
            label=_("온도"),
            help=_("0에 가까울수록 같은 답, 1에 가까울수록 다양한 답."),
            kind="float",
            default=temperature,
            least=0,
            most=1.5,
        ),
        Param(
            name="max_output_tokens",
            label=_("최대 출력 토큰"),
            help=_("이보다 긴 답은 잘립니다. 두 호출을 합쳐 300이 예산입니다."),
            kind="int",
            default=max_output_tokens,
            least=32,
            most=1000,
        ),
        Param(
            name="effort",
            label=_("추론 강도"),
            help=_("모델이 받아들일 때만 보냅니다. 추론 토큰도 출력 예산을 씁니다."),
            kind="choice",
            default="none",
            choices=(("none", _("없음")), ("minimal", _("최소")), ("low", _("낮음"))),
        ),
    )


TASTE_AND_TAGLINES = register(
    Contract(
        key="taste_and_taglines",
        version=1,
        title=_("취향과 한 줄 소개"),
        purpose=_(
            "좋아하는 곡의 집계로 취향을 읽고, 묶음마다 한 줄 소개를 씁니다. 곡 제목은 보내지 않습니다."
        ),
        variables=(
            Variable(
                name="favorites_count",
                label=_("좋아하는 곡 수"),
                help=_("집계에 들어간 곡의 수."),
                sample="37",
            ),
            Variable(
                name="genres",
                label=_("장르 집계"),
                help=_("장르와 곡 수, 많은 순."),
                sample="록 14, J-pop 댄스팝 9, 발라드 6",
            ),
            Variable(
                name="moods",
                label=_("분위기 집계"),
                help=_("분위기와 곡 수, 많은 순."),
                sample="에너지 15, 감성적 11, 밝음 5",
            ),
            Variable(
                name="artists",
                label=_("가수 집계"),
                help=_("가수와 곡 수, 많은 순."),
                sample="요아소비 6, 백넘버 4, 아이묭 3",
            ),
            Variable(
                name="labels",
                label=_("묶음 이름"),
                help=_("번호가 붙은 묶음 이름, 한 줄에 하나. 답의 taglines와 순서가 같습니다."),
                sample="1 신나는 록\n2 감성 발라드\n3 요아소비와 닮은 가수\n4 애니메이션 주제가",
            ),
            _LOCALE,
        ),
        params=_common_params(max_output_tokens=200, temperature=0.7),
        schema=_object(
            taste=_STRING, genres=_STRINGS, moods=_STRINGS, artists=_STRINGS, taglines=_STRINGS
        ),
    )
)

CURATION = register(
    Contract(
        key="curation",
        version=1,
        title=_("선곡"),
        purpose=_("번호가 붙은 후보 곡에서 회원에게 맞는 곡을 번호로 고릅니다."),
        variables=(
            Variable(
                name="candidates",
                label=_("후보 곡"),
                help=_("한 줄에 한 곡: 번호 제목 / 가수 / 장르 / 분위기. 맨 끝에 두십시오."),
                sample="1 夜に駆ける / YOASOBI / J-pop / 에너지\n2 ハッピーエンド / back number / 발라드 / 감성적\n"
                "3 マリーゴールド / あいみょん / 포크 / 따뜻함\n4 紅蓮華 / LiSA / 애니 록 / 강렬함",
                fenced=True,
            ),
            Variable(
                name="taste",
                label=_("취향"),
                help=_("회원의 취향을 한두 문장으로."),
                sample="에너지 넘치는 록과 감성적인 발라드를 함께 즐깁니다.",
            ),
            Variable(
                name="count",
                label=_("고를 곡 수"),
                help=_("모델이 골라야 하는 곡의 수."),
                sample="3",
            ),
            Variable(
                name="situation",
                label=_("상황"),
                help=_("시간대, 활동, 기분. 없으면 빈 글입니다."),
                sample="",
                required=False,
            ),
        ),
        params=(
            *_common_params(max_output_tokens=100, temperature=0.2),
            Param(
                name="candidates",
                label=_("보여 줄 후보 수"),
                help=_("많을수록 비싸고 느립니다. 60곡이 약 1,400토큰입니다."),
                kind="int",
                default=60,
                least=10,
                most=100,
            ),
            Param(
                name="model_weight",
                label=_("모델 순서의 비중"),
                help=_("0이면 우리 순위 그대로, 1이면 모델 순서 그대로."),
                kind="float",
                default=0.5,
                least=0,
                most=1,
            ),
        ),
        schema=_object(picks=_INTEGERS),
    )
)
