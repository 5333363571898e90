#include "text/sentencepiece.h"

extern "C" {
#include "text/tokenizer_kind.h"
}

#include <algorithm>
#include <climits>
#include <cstring>
#include <memory>
#include <new>
#include <sentencepiece_processor.h>
#include <sentencepiece_trainer.h>
#include <string>
#include <unordered_map>
#include <vector>

namespace {

/* A special token of the text: its spelling and id. */
struct special_t {
  std::string piece;
  int id;
};

struct model_t {
  sentencepiece::SentencePieceProcessor processor;
  std::vector<special_t> specials;
};

/* Runs BODY, which returns a status, and turns what it throws into one. */
template <typename Body> status_code_t guarded(const char *what, Body body) {
  try {
    return body();
  } catch (const std::bad_alloc &) {
    return error_set(STATUS_MEMORY, "%s: out of memory", what);
  } catch (const std::exception &e) {
    return error_set(STATUS_INTERNAL, "%s: SentencePiece failed: %s", what, e.what());
  } catch (...) {
    return error_set(STATUS_INTERNAL, "%s: SentencePiece failed", what);
  }
}

status_code_t find_specials(model_t *model) {
  const struct {
    const char *name;
    int id;
  } special[] = {{"unknown", model->processor.unk_id()},
                 {"BOS", model->processor.bos_id()},
                 {"EOS", model->processor.eos_id()}};
  for (const auto &s : special) {
    if (s.id < 0 || s.id >= model->processor.GetPieceSize() || model->processor.IdToPiece(s.id).empty())
      return error_set(
          STATUS_DATA,
          "tokenizer model with %d pieces has no %s piece; expected a LLaMA-style tokenizer.model",
          model->processor.GetPieceSize(), s.name);
    model->specials.push_back({model->processor.IdToPiece(s.id), s.id});
  }
  return STATUS_OK;
}

const model_t *model_of(const void *state) {
  return static_cast<const model_t *>(state);
}

void model_free(void *state) {
  delete static_cast<model_t *>(state);
}

/* Appends the ids of TEXT, which spells no special token. */
status_code_t encode_plain(const model_t *model, std::string_view text, token_list_t *out) {
  if (text.empty()) return STATUS_OK;
  std::vector<int> found;
  const auto status = model->processor.Encode(text, &found);
  if (!status.ok())
    return error_set(STATUS_DATA, "tokenising %zu bytes: %s", text.size(), status.error_message());
  const status_code_t memory = token_list_reserve(out, found.size());
  if (memory != STATUS_OK) return memory;
  std::copy(found.begin(), found.end(), out->ids + out->n);
  out->n += static_cast<int32_t>(found.size());
  return STATUS_OK;
}

/* The text between special tokens goes to the model piece by piece, so each piece gets the dummy prefix. */
status_code_t encode(const model_t *model, std::string_view text, token_list_t *out) {
  const auto &specials = model->specials;
  std::vector<size_t> next;
  next.reserve(specials.size());
  for (const auto &s : specials)
    next.push_back(text.find(s.piece));
  for (size_t at = 0;;) {
    const size_t i = std::min_element(next.begin(), next.end()) - next.begin();
    const size_t end = std::min(next[i], text.size());
    status_code_t status = encode_plain(model, text.substr(at, end - at), out);
    if (status != STATUS_OK || end == text.size()) return status;
    status = token_list_append(out, specials[i].id);
    if (status != STATUS_OK) return status;
    at = end + specials[i].piece.size();
    for (size_t s = 0; s < specials.size(); s++)
      if (next[s] < at) next[s] = text.find(specials[s].piece, at);
  }
}

status_code_t model_encode(const void *state, text_view_t text, token_list_t *out) {
  return guarded("tokenising",
                 [&] { return encode(model_of(state), std::string_view(text.bytes, text.n), out); });
}

/* Special tokens leave no trace: the others are decoded as if they stood together. */
status_code_t decode(const model_t *model, const int32_t *ids, int32_t n, text_buffer_t *out) {
  std::vector<int> plain;
  for (int32_t i = 0; i < n; i++)
    if (std::none_of(model->specials.begin(), model->specials.end(),
                     [&](const special_t &s) { return s.id == ids[i]; }))
      plain.push_back(ids[i]);
  std::string text;
  const auto status = model->processor.Decode(plain, &text);
  if (!status.ok())
    return error_set(STATUS_INTERNAL, "decoding %zu tokens: %s", plain.size(), status.error_message());
  return text_buffer_append_repaired(out, text_view_t{text.data(), text.size()});
}

status_code_t model_decode(const void *state, const int32_t *ids, int32_t n, text_buffer_t *out) {
  return guarded("decoding tokens", [&] { return decode(model_of(state), ids, n, out); });
}

const char *model_piece(const void *state, int32_t id) {
  return model_of(state)->processor.IdToPiece(id).c_str();
}

int32_t model_piece_id(const void *state, const char *piece) {
  const int id = model_of(state)->processor.PieceToId(piece);
  return std::strcmp(model_piece(state, id), piece) == 0 ? id : -1;
}

const tokenizer_kind_t sentencepiece_kind = {model_free, model_encode, model_decode, model_piece,
                                             model_piece_id};

status_code_t create(const void *bytes, size_t n, tokenizer_t **out) {
  if (n == 0) return error_set(STATUS_DATA, "tokenizer model is empty; expected a SentencePiece model");
  if (n > INT_MAX)
    return error_set(STATUS_DATA, "tokenizer model has %zu bytes; expected less than 2 GiB", n);
  auto model = std::make_unique<model_t>();
  const auto status =
      model->processor.LoadFromSerializedProto(std::string_view(static_cast<const char *>(bytes), n));
  if (!status.ok())
    return error_set(STATUS_DATA,
                     "%zu bytes are no SentencePiece model (%s); expected the bytes of a tokenizer.model", n,
                     status.error_message());
  const status_code_t special = find_specials(model.get());
  if (special != STATUS_OK) return special;
  const auto &processor = model->processor;
  const int size = processor.GetPieceSize(), bos = processor.bos_id(), eos = processor.eos_id();
  return tokenizer_make(&sentencepiece_kind, model.release(), bytes, n, size, bos, eos, out);
}

/* The caller's texts as SentencePiece wants them. */
class texts_iterator final : public sentencepiece::SentenceIterator {
public:
  texts_iterator(tokenizer_texts_t texts, void *context) : texts_(texts), context_(context) {
    Next();
  }
  bool done() const override {
    return done_;
  }
  void Next() override {
    const char *bytes = nullptr;
    size_t n = 0;
    done_ = !texts_(context_, &bytes, &n);
    if (done_ || n == 0)
      text_.clear();
    else
      text_.assign(bytes, n);
  }
  const std::string &value() const override {
    return text_;
  }
  sentencepiece::util::Status status() const override {
    return {};
  }

private:
  tokenizer_texts_t texts_;
  void *context_;
  std::string text_;
  bool done_ = false;
};

std::unordered_map<std::string, std::string> trainer_settings(const tokenizer_training_t &training) {
  return {{"model_type", "bpe"},
          {"vocab_size", std::to_string(training.vocab_size)},
          {"hard_vocab_limit", "false"},
          {"byte_fallback", training.byte_fallback ? "true" : "false"},
          {"character_coverage", "1.0"},
          {"normalization_rule_name", "identity"},
          {"remove_extra_whitespaces", "false"},
          {"add_dummy_prefix", "true"},
          {"split_digits", "true"},
          {"max_sentence_length", std::to_string(1 << 24)},
          {"num_threads", "1"},
          {"unk_id", "0"},
          {"bos_id", "1"},
          {"eos_id", "2"},
          {"pad_id", "-1"},
          {"minloglevel", "2"}};
}

} // namespace

status_code_t sentencepiece_create(const void *bytes, size_t n, tokenizer_t **out) {
  *out = nullptr;
  return guarded("loading a tokenizer", [&] { return create(bytes, n, out); });
}

status_code_t tokenizer_train(const tokenizer_training_t *training, tokenizer_texts_t texts, void *context,
                              tokenizer_t **out) {
  *out = nullptr;
  return guarded("training a tokenizer", [&]() -> status_code_t {
    texts_iterator iterator(texts, context);
    std::string bytes;
    const auto status =
        sentencepiece::SentencePieceTrainer::Train(trainer_settings(*training), &iterator, &bytes);
    if (!status.ok())
      return error_set(STATUS_INPUT, "training a tokenizer of %d pieces: %s", training->vocab_size,
                       status.error_message());
    return create(bytes.data(), bytes.size(), out);
  });
}
