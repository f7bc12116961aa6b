"""What the house itself says to callers, in the agent's language where we have it, else in English."""

from __future__ import annotations

import re
from dataclasses import dataclass

#: What a document cannot hold, not even escaped. Source: XML 1.0 (fifth edition), production 2, Char.
_UNSAYABLE = re.compile(r"[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
_BREAKS = str.maketrans("\v\f", "  ")

#: Source of the tags: the languages of ``<Say>``.
TAGS = {"en": "en-US", "de": "de-DE", "es": "es-ES", "fr": "fr-FR", "hi": "hi-IN"}


@dataclass(frozen=True)
class Sentences:
    """One language's sentences; ``tag`` is what the carrier's voice is told to speak."""

    tag: str
    after_tone: str
    one_moment: str
    still_here: str
    not_heard: str
    again: str
    lost: str
    slow: str
    no_answer: str
    unavailable: str
    kept: str
    goodbye: str
    connecting: str
    not_connected: str
    time_is_up: str


_SENTENCES = {
    "en": Sentences(
        tag="en-US",
        after_tone="Please speak after the tone.",
        one_moment="One moment, please.",
        still_here="I am still working on it.",
        not_heard="I did not hear anything. Please speak after the tone.",
        again="I am sorry, I could not use that recording. Please say it once more after the tone.",
        lost="I am sorry, we were cut off for a moment. Please say that again after the tone.",
        slow="I am sorry, this takes longer than it should. Your words are kept."
        " You may leave a message after the tone.",
        no_answer="I am sorry, I have no answer to that. What else can I do for you?",
        unavailable="I am sorry, our assistant cannot answer right now."
        " You may leave a message after the tone; it will be listened to.",
        kept="Thank you. Your message is kept. Goodbye.",
        goodbye="Thank you for calling. Goodbye.",
        connecting="One moment, please, I am connecting you.",
        not_connected="I am sorry, nobody could be reached."
        " You may tell me after the tone what it is about; it will be passed on.",
        time_is_up="I am sorry, I have to end this call now."
        " Please call again if there is anything else. Goodbye.",
    ),
    "de": Sentences(
        tag="de-DE",
        after_tone="Bitte sprechen Sie nach dem Ton.",
        one_moment="Einen Moment, bitte.",
        still_here="Ich arbeite noch daran.",
        not_heard="Ich habe nichts gehört. Bitte sprechen Sie nach dem Ton.",
        again="Es tut mir leid, ich konnte die Aufnahme nicht verwenden."
        " Bitte sagen Sie es nach dem Ton noch einmal.",
        lost="Es tut mir leid, wir waren kurz getrennt. Bitte sagen Sie das nach dem Ton noch einmal.",
        slow="Es tut mir leid, das dauert länger als es sollte. Ihre Worte sind aufbewahrt."
        " Sie können nach dem Ton eine Nachricht hinterlassen.",
        no_answer="Es tut mir leid, darauf habe ich keine Antwort. Was kann ich sonst für Sie tun?",
        unavailable="Es tut mir leid, unser Assistent kann gerade nicht antworten."
        " Sie können nach dem Ton eine Nachricht hinterlassen; sie wird angehört.",
        kept="Vielen Dank. Ihre Nachricht ist aufbewahrt. Auf Wiederhören.",
        goodbye="Vielen Dank für Ihren Anruf. Auf Wiederhören.",
        connecting="Einen Moment, bitte, ich verbinde Sie.",
        not_connected="Es tut mir leid, es war niemand zu erreichen."
        " Sagen Sie mir gern nach dem Ton, worum es geht; ich gebe es weiter.",
        time_is_up="Es tut mir leid, ich muss das Gespräch jetzt beenden."
        " Rufen Sie gern wieder an. Auf Wiederhören.",
    ),
    "es": Sentences(
        tag="es-ES",
        after_tone="Por favor, hable después del tono.",
        one_moment="Un momento, por favor.",
        still_here="Sigo trabajando en ello.",
        not_heard="No he oído nada. Por favor, hable después del tono.",
        again="Lo siento, no he podido usar esa grabación. Por favor, repítalo después del tono.",
        lost="Lo siento, la línea se cortó un momento. Por favor, repítalo después del tono.",
        slow="Lo siento, esto tarda más de lo debido. Sus palabras están guardadas."
        " Puede dejar un mensaje después del tono.",
        no_answer="Lo siento, no tengo respuesta para eso. ¿Qué más puedo hacer por usted?",
        unavailable="Lo siento, nuestro asistente no puede responder ahora."
        " Puede dejar un mensaje después del tono; será escuchado.",
        kept="Gracias. Su mensaje está guardado. Adiós.",
        goodbye="Gracias por llamar. Adiós.",
        connecting="Un momento, por favor, le comunico.",
        not_connected="Lo siento, no se ha podido localizar a nadie."
        " Después del tono puede decirme de qué se trata; lo transmitiré.",
        time_is_up="Lo siento, tengo que terminar esta llamada. Llame de nuevo si necesita algo más. Adiós.",
    ),
    "fr": Sentences(
        tag="fr-FR",
        after_tone="Veuillez parler après le bip.",
        one_moment="Un instant, s'il vous plaît.",
        still_here="J'y travaille encore.",
        not_heard="Je n'ai rien entendu. Veuillez parler après le bip.",
        again="Je suis désolé, je n'ai pas pu utiliser cet enregistrement. Veuillez répéter après le bip.",
        lost="Je suis désolé, nous avons été coupés un instant. Veuillez répéter après le bip.",
        slow="Je suis désolé, cela prend plus de temps que prévu. Vos paroles sont conservées."
        " Vous pouvez laisser un message après le bip.",
        no_answer="Je suis désolé, je n'ai pas de réponse à cela. Que puis-je faire d'autre pour vous ?",
        unavailable="Je suis désolé, notre assistant ne peut pas répondre pour le moment."
        " Vous pouvez laisser un message après le bip ; il sera écouté.",
        kept="Merci. Votre message est conservé. Au revoir.",
        goodbye="Merci de votre appel. Au revoir.",
        connecting="Un instant, s'il vous plaît, je vous mets en relation.",
        not_connected="Je suis désolé, personne n'a pu être joint."
        " Dites-moi après le bip de quoi il s'agit ; je transmettrai.",
        time_is_up="Je suis désolé, je dois mettre fin à cet appel. N'hésitez pas à rappeler. Au revoir.",
    ),
    "hi": Sentences(
        tag="hi-IN",
        after_tone="कृपया बीप के बाद बोलिए।",
        one_moment="एक क्षण, कृपया।",
        still_here="मैं अभी इस पर काम कर रहा हूँ।",
        not_heard="मुझे कुछ सुनाई नहीं दिया। कृपया बीप के बाद बोलिए।",
        again="क्षमा कीजिए, वह रिकॉर्डिंग काम नहीं आई। कृपया बीप के बाद फिर से बोलिए।",
        lost="क्षमा कीजिए, संपर्क कुछ देर के लिए टूट गया। कृपया बीप के बाद फिर से बोलिए।",
        slow="क्षमा कीजिए, इसमें अधिक समय लग रहा है। आपकी बात सुरक्षित है। आप बीप के बाद संदेश छोड़ सकते हैं।",
        no_answer="क्षमा कीजिए, मेरे पास इसका उत्तर नहीं है। मैं और क्या कर सकता हूँ?",
        unavailable="क्षमा कीजिए, हमारा सहायक अभी उत्तर नहीं दे सकता। आप बीप के बाद संदेश छोड़ सकते हैं; उसे सुना जाएगा।",
        kept="धन्यवाद। आपका संदेश सुरक्षित है। नमस्ते।",
        goodbye="फ़ोन करने के लिए धन्यवाद। नमस्ते।",
        connecting="एक क्षण, कृपया, मैं आपकी बात कराता हूँ।",
        not_connected="क्षमा कीजिए, किसी से संपर्क नहीं हो सका।"
        " आप बीप के बाद अपनी बात बता सकते हैं; वह पहुँचा दी जाएगी।",
        time_is_up="क्षमा कीजिए, मुझे अब यह कॉल समाप्त करनी होगी। कुछ और हो तो फिर फ़ोन कीजिए। नमस्ते।",
    ),
}


def sentences(language: str) -> Sentences:
    """The house's sentences for an agent's language (BCP-47, as ``de`` or ``de-AT``)."""
    return _SENTENCES.get(language.split("-")[0].lower(), _SENTENCES["en"])


def sayable(text: str) -> str:
    """The text without what no voice says and no document holds: control characters, lone surrogates."""
    return _UNSAYABLE.sub("", text.translate(_BREAKS))


def tag(language: str) -> str:
    """What the carrier's voice is told to speak an agent's own words in; empty: as it is set up there.

    A language without its region is none of the carrier's tags, unless the table knows it.
    """
    return language if "-" in language else TAGS.get(language.lower(), "")
