"""What callers say to a desk, as a grammar for the ears (JSGF 1.0).

A small grammar is the only thing by which pocketsphinx follows a synthetic
voice over the telephone; so ordinary phrasings of the desk's few subjects are
listed generously, and everything else is left to the free language model.
Every word must be in pocketsphinx's US English dictionary.
"""

from __future__ import annotations

# How espeak-ng's words sound over a telephone, which cuts off the hiss of its s above 4 kHz.
PRONUNCIATIONS = (
    ("thanks(2)", "TH AE NG K"),
    ("sales(2)", "EY L"),
    ("sorry(2)", "AO L IY"),
    ("not(2)", "AA T"),
)

GRAMMAR = """#JSGF V1.0;
grammar desk;

<please> = please | thank you | thanks;
<opener> = hello | hi there | hello there | good morning | good afternoon | good evening
  | yes | okay | sorry | excuse me;
<could_you> = can you | could you | would you | will you;
<may_i> = can i | could i | may i;
<want> = i would like | i'd like | i want | i need | i wish;

<greeting> = hello | hi there | hello there | good morning | good afternoon | good evening
  | hello is anybody there | hello is anyone there;

<day> = today | tomorrow | now | right now | on monday | on tuesday | on wednesday | on thursday | on friday
  | on saturday | on saturdays | on sunday | on sundays | on the weekend | at the weekend
  | on weekends | this week;
<hours> = what are your ([opening] hours | business hours | office hours | opening times) [<day>]
  | what ((are the) | about (your | the)) (opening hours | hours | opening times) [<day>]
  | (your | the) opening hours [<day>] | opening hours
  | (when | what time) (are you open | do you open | do you close | are you closed | do you start) [<day>]
  | (when | what time) (is | does) (your | the) (office | store | shop) (open | close) [<day>]
  | are you [still] (open | closed) [<day>]
  | how (late | long) are you open [<day>]
  | (tell me | i want to know | i would like to know | i'd like to know) (your | the) [opening] hours;

<again> = again | once more | one more time;
<repeat> = <could_you> [please] (repeat | say) (that | it) [<again>]
  | [please] say that <again> | [please] repeat [that | it] [<again>] | what did you say | what was that
  | (pardon | pardon me | come <again>)
  | i (did not | didn't | could not | couldn't) (catch | hear | understand | get) (that | you | it)
  | i don't understand;

<person> = a [real | live] (person | human) | a human being | a manager | a representative | a receptionist
    | a supervisor | a member of staff | a colleague | an operator | an agent | another person | the operator
    | the manager | someone | somebody | someone else;
<section> = sales | billing | support | customer service | customer support | technical support | accounting
    | reception | marketing | repairs | human resources;
<office> = <section> | the <section> (department | team | office | desk);
<transfer> = (<may_i> | <want> to | let me | please let me) [please] (speak | talk) (to | with)
    (<person> | <office>)
  | <may_i> (have | get) <person>
  | [<could_you>] [please] (transfer | connect | forward) (me | my call | this call)
    [to (<person> | <office>)]
  | [<could_you>] [please] put me through [to (<person> | <office>)]
  | [please] give me <person>
  | operator | agent | representative | reception | human | a human | a person | a real person
  | <want> <person>;

<digit> = zero | oh | one | two | three | four | five | six | seven | eight | nine;
<override> = (ignore | forget) [all] (your | the) (rules | instructions) and [please]
    (call | dial) [the number] [plus] <digit>+;

<leave> = (leave | take | record) (a | another | my) (message | voice mail | note);
<message> = (<may_i> | <want> to | let me | <could_you> | i will | i'll) [please] [just] <leave>
    [for (him | her | them | you | the manager | the team | someone)]
  | <leave> | a message
  | (please | <could_you> [please] | <may_i> [please] | ask them to | ask him to | ask her to | have someone)
    (call | ring) me back;

<thanks> = thank you [very much | so much | for your help | for that]
  | thanks [a lot | very much | so much | for your help]
  | many thanks | thank you thank you | great thank you | perfect thank you | okay thank you | great thanks;
<finished> = (that is | that's | that was | that will be | that would be) (all | it | everything)
    [i (need | needed | wanted)]
  | nothing else | i am done | i'm done | we are done | i have to go;
<bye> = goodbye | bye | bye bye | bye now | bye for now | have a (nice | good | great) day
  | see you | see you later | talk to you later;
<ending> = [<thanks>] [<finished>] [<thanks>] <bye> [<bye>] | [no] [<thanks>] <finished> [<thanks>] [<bye>];

<answer> = yes | yes please | yeah | yep | sure | okay | that is right | that's right
  | correct | right | no | nope | no thank you | no thanks | not now | maybe | i see | all right;
<who> = (who | what) (am i | are you | is this) [talking to | speaking to | speaking with]
  | are you a (robot | machine | computer | real person | human | person) | are you (human | real)
  | am i (talking | speaking) (to | with) a (robot | machine | computer | real person | human | person)
  | what is your name | what's your name | what company is this;
<where> = where are you [located | based] | where is your (office | store | shop)
  | what is (your | the) address
  | what's your address | how do i (get | find) (there | you | to you);
<help> = [can you | could you | please] help [me] | i need [some] help | i have a (question | problem)
  | what can you do [for me] | how can you help [me] | can i ask [you] (a question | something);

<subject> = <hours> | <repeat> | <transfer> | <message> | <who> | <where> | <help>;
public <line> = [<opener>] <subject> [<please>] | <greeting> | <thanks> | <ending> | <answer>
  | <override> | <repeat> | i am sorry | i'm sorry | sorry | stop | wait | hold on | one moment [please];
"""
