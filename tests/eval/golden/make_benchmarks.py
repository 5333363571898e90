"""Answers to made-up questions of benchmarks, and what their graders would say of them, for tests/eval/test_benchmarks.c.

The scores are computed here by the published rules, independently of the program: those of POPE's evaluate.py, AMBER's
inference.py, HallusionBench's utils.py (with a rule in place of GPT-4), VLMEvalKit's exact matching of MMBench (of August 2025), and CHAIR.
Python 3.11; inflect==7.5.0 gives CHAIR's singulars.

usage: python3 make_benchmarks.py   (writes beside itself)
"""
import csv
import json
import pathlib
import random
import re
from collections import defaultdict

import inflect

HERE = pathlib.Path(__file__).parent
draw = random.Random(7)
SAYS = ["Yes", "No", "Yes, there is.", "No, there is not.", "There is no dog in the image.", "yes", "no.", "I do not know",
        "A dog is there, no cat.", "It is not clear. Yes", "Nothing", "Yes. No", "NO", ""]


def rates(tp, fp, tn, fn, n):
    precision = tp / (tp + fp) if tp + fp else 0
    recall = tp / (tp + fn) if tp + fn else 0
    f1 = 2 * precision * recall / (precision + recall) if precision + recall else 0
    return {"TP": tp, "FP": fp, "TN": tn, "FN": fn, "accuracy": (tp + tn) / n, "precision": precision, "recall": recall, "f1": f1}


def pope(rule):
    rows = [json.loads(line) for line in open(HERE / "pope.jsonl")]
    counts = defaultdict(int)
    for row in rows:
        said, truth = rule(row["answer"]), row["label"]
        counts[("T" if said == truth else "F") + {"yes": "P", "no": "N", None: "0"}[said]] += 1
        counts["FN"] += said is None and truth == "yes"
        counts["unread"] += said is None
    out = rates(counts["TP"], counts["FP"], counts["TN"], counts["FN"], len(rows))
    out["yes_ratio"] = (counts["TP"] + counts["FP"]) / len(rows)
    return out | {"unread": counts["unread"]}


def sentence(text):
    words = text.split(".")[0].replace(",", "").split(" ")
    return "no" if {"No", "not", "no"} & set(words) else "yes"


def words(text):
    found = set(re.sub(r"[^\w']", " ", text.lower()).split()) & {"yes", "no"}
    return found.pop() if len(found) == 1 else None


def exact(text):
    return text.lower() if text.lower() in ("yes", "no") else None


def write_pope():
    with open(HERE / "pope.jsonl", "w") as file:
        for i in range(120):
            row = {"question_id": i, "image": f"COCO_val2014_{i:012}.jpg", "text": "Is there a dog in the image?",
                   "label": draw.choice(["yes", "no"]), "answer": draw.choice(SAYS)}
            file.write(json.dumps(row) + "\n")
    return {"pope": pope(sentence), "pope_words": pope(words), "pope_exact": pope(exact)}


def write_amber():
    kinds = ["discriminative-hallucination", "discriminative-attribute-state", "discriminative-attribute-number",
             "discriminative-attribute-action", "relation"]
    names = ["existence", "state", "number", "action", "relation"]
    truths, answers, counts = [], [], defaultdict(lambda: defaultdict(int))
    for i in range(1, 161):
        if i <= 10:
            truths.append({"id": i, "type": "generative", "truth": ["dog"], "hallu": ["cat"]})
            answers.append({"id": i, "response": "A dog."})
            continue
        kind, truth, said = draw.randrange(5), draw.choice(["yes", "no"]), draw.choice(["Yes", "No", "No", "no", "No."])
        truths.append({"id": i, "type": kinds[kind], "truth": truth})
        answers.append({"id": i, "response": said})
        for group in ["all", names[kind]] + (["attribute"] if 1 <= kind <= 3 else []):
            c = counts[group]
            c["n"] += 1
            c["TP"] += truth == "no" and said == "No"
            c["FP"] += truth == "yes" and said == "No"
            c["TN"] += truth == "yes" and said == "Yes"
            c["FN"] += truth == "no" and said != "No"
    json.dump(truths, open(HERE / "amber_annotations.json", "w"), indent=0)
    json.dump(answers, open(HERE / "amber.json", "w"), indent=0)
    scores = {group: rates(c["TP"], c["FP"], c["TN"], c["FN"], c["n"]) for group, c in counts.items()}
    return {"amber": scores.pop("all") | {"types": {
        group: {key: s[key] for key in ("accuracy", "precision", "recall", "f1")} for group, s in scores.items()}}}


def write_hallusion():
    rows, figures, pairs, edited = [], defaultdict(list), defaultdict(list), defaultdict(list)
    right = {"all": [], "easy": []}
    for category in ("VD", "VS"):
        for collection in range(6):
            for figure in range(draw.randint(1, 3)):
                for question in range(draw.randint(1, 3)):
                    truth, said = draw.choice("01"), draw.choice(["Yes", "Yes.", "No, it is not", "no", "It is unclear"])
                    shown = not (category == "VS" and figure == 0)
                    rows.append({"category": category, "subcategory": "chart", "visual_input": str(int(shown)),
                                 "set_id": str(collection), "figure_id": str(figure), "question_id": str(question),
                                 "question": "Is it so?", "gt_answer_details": "", "gt_answer": truth, "filename": None,
                                 "model_prediction": said})
                    says = words(said)
                    ok = says == ("yes" if truth == "1" else "no") or (says is None and not shown)
                    right["all"].append(ok)
                    if figure:
                        edited[category, collection, question].append(ok)
                    else:
                        right["easy"].append(ok)
                    if shown:
                        figures[category, collection, figure].append(ok)
                    pairs[category, collection, question].append(ok)
    json.dump(rows, open(HERE / "hallusion.json", "w"), indent=0)
    mean = lambda values: sum(values) / len(values)
    return {"hallusion": {"accuracy": mean(right["all"]), "easy_accuracy": mean(right["easy"]),
                          "hard_accuracy": mean([all(e) for e in edited.values()]), "figure_accuracy": mean([all(f) for f in figures.values()]),
                          "pair_accuracy": mean([all(p) for p in pairs.values()])}}


REFUSALS = ["Sorry, I can't help with images of people yet.", "I can't process this file.",
            "I'm sorry, but without the image provided", "Cannot determine the answer"]


def option_of(answer, choices):
    if any(refusal in answer for refusal in REFUSALS):
        return "Z"
    split = re.sub(r"[.()\[\],:;!*#{}]", " ", answer).split()
    letters = [c for c in choices if c in split]
    if len(letters) == 1 and split.index(letters[0]) > len(split) - 5:
        return letters[0]
    if not letters and "Z" in split:
        return "Z"
    if len(answer) > 2 * sum(len(v) for v in choices.values()):
        return None
    texts = [c for c in choices if choices[c].lower() in answer.lower()]
    return texts[0] if len(texts) == 1 else None


def write_mmbench():
    abilities = ["logic_reasoning", "coarse_perception", "relation_reasoning"]
    things = ["a red ball", "the blue box", "a dog", "two cats", "Nobody knows", "a \"quoted\"\tthing", "L'École"]
    hits, rounds, unread, by_ability = [], defaultdict(list), 0, defaultdict(list)
    with open(HERE / "mmbench.tsv", "w", newline="") as file:
        table = csv.writer(file, delimiter="\t", lineterminator="\n")
        table.writerow(["index", "question", "A", "B", "C", "D", "answer", "l2-category", "prediction"])
        for i in range(40):
            count, ability = draw.randint(2, 4), draw.choice(abilities)
            texts, truth, bias = draw.sample(things, count), draw.randrange(count), draw.random()
            for k in range(count):
                turned = texts[k:] + texts[:k]
                choices = dict(zip("ABCD", turned))
                answer = "ABCD"[(truth - k) % count]
                other = draw.choice(list(choices))
                said = draw.choice([answer, answer + ".", choices[answer], f"The answer is {answer}"] if draw.random() < bias
                                   else [other, f"It shows {choices[other]}!", "A or B", "I see nothing", "A dog is in it", "Z", choices[answer].upper(),
                                         f"Cannot determine the answer. {answer}", f"{answer}, as anybody can see here"])
                table.writerow([i + k * 1000000, "What is\nit?"] + turned + [""] * (4 - count) + [answer, ability, said])
                found = option_of(said, choices)
                unread += found is None
                hits.append(found == answer)
                rounds[i].append(found == answer)
                by_ability[ability].append(found == answer)
    mean = lambda values: sum(values) / len(values)
    return {"mmbench": {"accuracy": mean(hits), "circular_accuracy": mean([all(r) for r in rounds.values()]),
                        "unread": unread, "types": {a: {"accuracy": mean(h)} for a, h in by_ability.items()}}}


SYNONYMS = """person, man, woman, child, boy, baby, passenger
dog, puppy
train
chair, seat
toilet
knife
bus
traffic light, stop light
hot dog
"""
SENTENCES = ["Two men with puppies.", "A baby dog beside the passenger train", "Knives on a chair; a woman sits.",
             "Buses wait at the traffic lights.", "A toilet seat.", "A toilet, its seat and a boy", "Nothing is here.",
             "The children play with dogs, and a man looks", "Three seats in a bus.",
             "A train track beside dogs.", "The weather is hot. Dogs run, and she cares.", "He is a passenger. Trains pass a baby, dogs."]


def chair_objects(text, nodes):
    singular = inflect.engine().singular_noun
    tokens = [w if w in nodes else singular(w) or w for w in re.findall(r"[\w-]+|[.,;]", text.lower())]
    doubles = {f"{q} {a}": a for q in ("baby", "adult") for a in ("dog", "cat", "bear")}
    doubles |= {"passenger train": "train", "toilet seat": "toilet", "traffic light": "traffic light", "stop light": "stop light",
                "hot dog": "hot dog", "train track": "train track"}
    found, i = [], 0
    while i < len(tokens):
        pair = " ".join(tokens[i:i + 2])
        found.append(doubles.get(pair, tokens[i]))
        i += 2 if pair in doubles else 1
    if "toilet" in found:
        found = [w for w in found if w != "seat"]
    return [nodes[w] for w in found if w in nodes]


def write_chair():
    (HERE / "chair_synonyms.txt").write_text(SYNONYMS)
    lines = [line.split(", ") for line in SYNONYMS.splitlines()]
    nodes = {w: line[0] for line in lines for w in line}
    ids = {line[0]: 10 * k + 3 for k, line in enumerate(lines)}
    instances, captions, truth, answers = [], [], defaultdict(set), []
    for image in range(1, 31):
        for name in draw.sample(sorted(ids), draw.randint(0, 3)):
            instances.append({"image_id": image, "category_id": ids[name], "bbox": [1, 2.5, 3, 4], "iscrowd": 0})
            truth[image].add(name)
        caption = draw.choice(SENTENCES)
        captions.append({"image_id": image, "id": image, "caption": caption})
        truth[image] |= set(chair_objects(caption, nodes))
        answers.append({"question_id": image, "image": f"COCO_val2014_{image:012}.jpg", "text": "Describe the image.",
                        "answer": " ".join(draw.sample(SENTENCES, draw.randint(1, 3)))})
    json.dump({"info": {"year": 2014}, "images": [{"id": 1}], "annotations": instances,
               "categories": [{"id": i, "name": name} for name, i in ids.items()]}, open(HERE / "chair_instances.json", "w"))
    json.dump({"annotations": captions, "licenses": []}, open(HERE / "chair_captions.json", "w"))
    with open(HERE / "chair.jsonl", "w") as file:
        for answer in answers:
            file.write(json.dumps(answer) + "\n")
    mentions = invented = sentences = named = shown = 0
    for answer in answers:
        objects, there = chair_objects(answer["answer"], nodes), truth[answer["question_id"]]
        wrong = [o for o in objects if o not in there]
        mentions, invented, sentences = mentions + len(objects), invented + len(wrong), sentences + bool(wrong)
        named, shown = named + len(set(objects) & there), shown + len(there)
    return {"chair": {"instance": invented / mentions, "sentence": sentences / len(answers), "recall": named / shown}}


expected = write_pope() | write_amber() | write_hallusion() | write_mmbench() | write_chair()
json.dump(expected, open(HERE / "expected.json", "w"), indent=1)
