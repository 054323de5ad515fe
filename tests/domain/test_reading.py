"""A start that does not know a language says so: its tokenizer lacks the letters, or has one token for each."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from stm_agent.domain.collection import Collection, Document
from stm_agent.domain.measures import tokenizer_at_hand
from stm_agent.domain.profile import profile
from stm_agent.domain.profile_text import profile_lines
from stm_agent.domain.reading import PIECES, SYLLABLE_PIECES, UNKNOWN, Reading, reading_of
from stm_agent.domain.spec import BackboneSpec
from stm_agent.loop.starting import warn_if_unread
from stm_agent.machine import Machine

CPU = Machine(cores=2, memory_gib=8.0, gpu=None)

HARDLY_READ = {
    "Chinese": (
        "膝关节疼痛常见于跑步之后，患者会感到肿胀和发热，医生建议休息并冷敷。",
        "高山上的水在较低的温度下沸腾，因为那里的气压比海平面低得多。",
        "心脏通过收缩把血液送到全身，如果心跳停止，大脑在几分钟内就会受损。",
        "合同一方未按约定履行义务的，应当承担继续履行、采取补救措施或者赔偿损失等违约责任。",
    ),
    "Japanese": (
        "走った後に膝が痛むことがあり、腫れや熱を感じる場合は休んで冷やすとよい。",
        "高い山では気圧が低いため、水は海面よりも低い温度で沸騰する。",
        "心臓は収縮することで血液を全身に送り、止まると脳は数分で損傷を受ける。",
        "この機械の電源を切る前に、必ずすべてのファイルを保存してください。",
    ),
    "Korean": (
        "달리기를 한 뒤에 무릎이 아프고 붓거나 열이 나면 쉬면서 찜질을 하는 것이 좋다.",
        "높은 산에서는 기압이 낮기 때문에 물이 더 낮은 온도에서 끓는다.",
        "심장은 수축하면서 온몸으로 피를 보내고, 멈추면 몇 분 안에 뇌가 손상된다.",
    ),
    "Arabic": (
        "قد يشعر العداء بألم في الركبة بعد الجري مع تورم وحرارة، وينصح الطبيب بالراحة.",
        "يغلي الماء على الجبال العالية عند درجة حرارة أقل لأن الضغط الجوي هناك منخفض.",
        "يضخ القلب الدم إلى جميع أنحاء الجسم، وإذا توقف يتضرر الدماغ خلال دقائق.",
    ),
    "Hindi": (
        "दौड़ने के बाद घुटने में दर्द, सूजन और गर्मी महसूस हो सकती है, इसलिए आराम करना चाहिए।",
        "ऊँचे पहाड़ पर पानी कम तापमान पर उबलता है क्योंकि वहाँ हवा का दबाव कम होता है।",
        "हृदय सिकुड़कर पूरे शरीर में रक्त भेजता है और रुकने पर मस्तिष्क को हानि होती है।",
    ),
    "Russian": (
        "После бега может болеть колено, появляются отёк и чувство жара, врач советует покой.",
        "На высокой горе вода кипит при более низкой температуре, потому что давление ниже.",
        "Сердце сокращается и гонит кровь по всему телу, а при остановке страдает мозг.",
    ),
    "Greek": (
        "Μετά το τρέξιμο μπορεί να πονάει το γόνατο, με πρήξιμο και αίσθημα θερμότητας.",
        "Στο ψηλό βουνό το νερό βράζει σε χαμηλότερη θερμοκρασία, γιατί η πίεση είναι μικρή.",
        "Η καρδιά συστέλλεται και στέλνει το αίμα σε όλο το σώμα.",
    ),
    "Thai": (
        "หลังวิ่งอาจมีอาการปวดเข่า บวม และรู้สึกร้อน แพทย์แนะนำให้พักและประคบเย็น",
        "บนภูเขาสูงน้ำเดือดที่อุณหภูมิต่ำกว่า เพราะความดันอากาศต่ำกว่าที่ระดับน้ำทะเล",
    ),
}
READ = {
    "English": (
        "After running the knee may hurt, with swelling and a feeling of heat, and the doctor advises rest.",
        "Haploinsufficiency of PHF6 causes Borjeson-Forssman-Lehmann syndrome with hypogonadism and gynaecomastia.",
    ),
    "German": (
        "Nach dem Laufen kann das Knie schmerzen, mit Schwellung und Hitzegefühl; der Arzt rät zu Ruhe.",
        "Die Krankenversicherungspflicht endet mit Ablauf des Kalenderjahres, in dem die Grenze überschritten wird.",
    ),
    "French": ("Après la course, le genou peut faire mal, avec un gonflement et une sensation de chaleur.",),
    "Polish": ("Po bieganiu może boleć kolano, pojawia się obrzęk i uczucie gorąca, a lekarz zaleca odpoczynek.",),
    "Turkish": ("Koşudan sonra dizde ağrı, şişlik ve sıcaklık hissi olabilir; doktor dinlenmeyi önerir.",),
    "Finnish": ("Juoksun jälkeen polvi voi olla kipeä, turvonnut ja kuuma, ja lääkäri suosittelee lepoa.",),
}


@pytest.mark.parametrize("language", HARDLY_READ)
def test_a_language_that_the_embedded_encoder_does_not_know_is_named(language: str) -> None:
    reading = reading_of(HARDLY_READ[language])
    assert reading is not None
    assert reading.fault
    assert "--start" in reading.warning("the embedded encoder")


@pytest.mark.parametrize("language", READ)
def test_a_language_in_its_letters_is_read(language: str) -> None:
    reading = reading_of(READ[language])
    assert reading is not None
    assert (reading.fault, reading.warning("a model")) == ("", "")


def test_letters_that_are_unknown_and_words_that_fall_apart_are_told_apart() -> None:
    chinese, russian = reading_of(HARDLY_READ["Chinese"]), reading_of(HARDLY_READ["Russian"])
    assert chinese is not None
    assert russian is not None
    assert chinese.unknown > UNKNOWN
    assert "unknown to its tokenizer" in chinese.fault
    assert russian.unknown < UNKNOWN, "it has every letter, and hardly a word"
    assert "tokens a letter" in russian.fault


def test_a_token_for_each_letter_is_usual_in_chinese_and_not_in_russian() -> None:
    assert not Reading(unknown=0.0, pieces=1.0, usual=SYLLABLE_PIECES).fault
    assert Reading(unknown=0.0, pieces=1.0, usual=PIECES).fault


def test_a_part_of_the_texts_in_another_language_is_no_fault() -> None:
    reading = reading_of([*READ["English"] * 20, *HARDLY_READ["Chinese"]])
    assert reading is not None
    assert 0 < reading.unknown < UNKNOWN
    assert not reading.fault


def test_texts_without_letters_are_not_measured() -> None:
    assert reading_of(["1, 2, 3", "?"]) is None
    assert reading_of([]) is None


def test_a_check_of_a_folder_warns_beside_the_scripts() -> None:
    def lines(language: str) -> list[str]:
        texts = {**HARDLY_READ, **READ}[language]
        documents = tuple(Document(str(number), "", text) for number, text in enumerate(texts))
        return profile_lines(profile(Collection("c", documents, {}, "", ""), CPU))

    (warning,) = [line for line in lines("Chinese") if line.startswith("WARNING")]
    assert "the embedded encoder hardly reads these texts" in warning
    assert not [line for line in lines("English") if line.startswith("WARNING")]


@pytest.mark.parametrize(("language", "warned"), [("Japanese", True), ("Greek", True), ("German", False)])
def test_a_run_warns_of_its_own_start(language: str, warned: bool) -> None:
    warnings: list[str] = []
    context: Any = SimpleNamespace(
        documents=dict(enumerate({**HARDLY_READ, **READ}[language])),
        spec=SimpleNamespace(backbone=BackboneSpec(model="embedded:all-minilm-l6-v2")),
        warn=lambda name, text: warnings.append(f"{name}: {text}"),
    )
    encoder: Any = SimpleNamespace(
        model=SimpleNamespace(tokenizer=SimpleNamespace(backend_tokenizer=tokenizer_at_hand()))
    )
    warn_if_unread(context, encoder)
    assert bool(warnings) is warned
    assert all(line.startswith("start: start embedded:all-minilm-l6-v2 hardly reads") for line in warnings)
    slow: Any = SimpleNamespace(model=SimpleNamespace(tokenizer=SimpleNamespace()))
    warn_if_unread(context, slow)
    assert len(warnings) == warned
