#include "text/tokenizer.h"

extern "C" {
#include "base/memory.h"
#include "tensor/packed.h"
#include "text/view.h"
}

#include <cerrno>
#include <climits>
#include <cstdio>
#include <cstring>
#include <memory>
#include <new>
#include <sentencepiece_processor.h>
#include <sentencepiece_trainer.h>
#include <string>
#include <sys/stat.h>
#include <unordered_map>
#include <vector>

struct tokenizer {
  sentencepiece::SentencePieceProcessor processor;
  std::string bytes;
};

namespace {

const char image_mark[] = "<image>";
const char replacement[] = "\xEF\xBF\xBD";

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

status_code_t check_special(const tokenizer &t) {
  const struct {
    const char *name;
    int id;
  } special[] = {
      {"unknown", t.processor.unk_id()}, {"BOS", t.processor.bos_id()}, {"EOS", t.processor.eos_id()}};
  for (const auto &s : special)
    if (s.id < 0 || s.id >= t.processor.GetPieceSize())
      return error_set(
          STATUS_DATA,
          "tokenizer model with %d pieces has no %s piece; expected a LLaMA-style tokenizer.model",
          t.processor.GetPieceSize(), s.name);
  return STATUS_OK;
}

status_code_t create(std::string &&bytes, tokenizer_t **out) {
  if (bytes.empty())
    return error_set(STATUS_DATA, "tokenizer model is empty; expected a SentencePiece model");
  if (bytes.size() > INT_MAX)
    return error_set(STATUS_DATA, "tokenizer model has %zu bytes; expected less than 2 GiB", bytes.size());
  auto t = std::make_unique<tokenizer>();
  t->bytes = std::move(bytes);
  const auto status = t->processor.LoadFromSerializedProto(t->bytes);
  if (!status.ok())
    return error_set(STATUS_DATA,
                     "%zu bytes are no SentencePiece model (%s); expected the bytes of a tokenizer.model",
                     t->bytes.size(), status.error_message());
  const status_code_t special = check_special(*t);
  if (special != STATUS_OK) return special;
  *out = t.release();
  return STATUS_OK;
}

status_code_t read_file(const char *path, std::string *bytes) {
  struct stat info;
  if (stat(path, &info) == 0 && !S_ISREG(info.st_mode)) /* a pipe or device may have no end */
    return error_set(STATUS_DATA, "cannot read tokenizer '%s': not a regular file", path);
  std::unique_ptr<FILE, int (*)(FILE *)> file(std::fopen(path, "rb"), std::fclose);
  char block[1 << 16];
  size_t n = 0;
  while (file && (n = std::fread(block, 1, sizeof block, file.get())) > 0)
    bytes->append(block, n);
  if (!file || std::ferror(file.get()))
    return error_set(STATUS_DATA, "cannot read tokenizer '%s': %s", path, std::strerror(errno));
  return STATUS_OK;
}

/* Appends the text of IDS, which all have pieces, to TEXT. */
status_code_t append_text(const tokenizer_t *t, const std::vector<int> &ids, std::string *text) {
  if (ids.empty()) return STATUS_OK;
  std::string part;
  const auto status = t->processor.Decode(ids, &part);
  if (!status.ok())
    return error_set(STATUS_INTERNAL, "decoding %zu tokens: %s", ids.size(), status.error_message());
  *text += part;
  return STATUS_OK;
}

status_code_t decode(const tokenizer_t *t, const int32_t *ids, int32_t n, std::string *text) {
  std::vector<int> run;
  for (int32_t i = 0; i < n; i++) {
    if (ids[i] >= 0 && ids[i] < t->processor.GetPieceSize()) {
      run.push_back(ids[i]);
      continue;
    }
    const status_code_t status = append_text(t, run, text);
    if (status != STATUS_OK) return status;
    run.clear();
    *text += ids[i] == TOKEN_IMAGE ? image_mark : replacement;
  }
  return append_text(t, run, text);
}

/* TEXT with U+FFFD for each byte that is not UTF-8: a model may spell its pieces in any bytes. */
std::string make_utf8(const std::string &text) {
  std::string good;
  size_t at = 0, bad = 0;
  while (!text_is_utf8({text.data() + at, text.size() - at}, &bad)) {
    good.append(text, at, bad).append(replacement);
    at += bad + 1;
  }
  return good.append(text, at, std::string::npos);
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

status_code_t tokenizer_create(const void *bytes, size_t n, tokenizer_t **out) {
  *out = nullptr;
  return guarded("loading a tokenizer",
                 [&] { return create(std::string(static_cast<const char *>(bytes), n), out); });
}

status_code_t tokenizer_load(const char *path, tokenizer_t **out) {
  *out = nullptr;
  return guarded("loading a tokenizer", [&] {
    std::string bytes;
    status_code_t status = read_file(path, &bytes);
    if (status != STATUS_OK) return status;
    status = create(std::move(bytes), out);
    return status == STATUS_OK ? status : error_context(status, "while reading tokenizer '%s'", path);
  });
}

void tokenizer_free(tokenizer_t *tokenizer) {
  delete tokenizer;
}

const void *tokenizer_bytes(const tokenizer_t *tokenizer, size_t *n) {
  *n = tokenizer->bytes.size();
  return tokenizer->bytes.data();
}

int32_t tokenizer_size(const tokenizer_t *tokenizer) {
  return tokenizer->processor.GetPieceSize();
}

int32_t tokenizer_bos(const tokenizer_t *tokenizer) {
  return tokenizer->processor.bos_id();
}

int32_t tokenizer_eos(const tokenizer_t *tokenizer) {
  return tokenizer->processor.eos_id();
}

int32_t tokenizer_piece_id(const tokenizer_t *tokenizer, const char *piece) {
  const int id = tokenizer->processor.PieceToId(piece);
  const char *found = tokenizer_piece(tokenizer, id);
  return found && std::strcmp(found, piece) == 0 ? id : -1;
}

const char *tokenizer_piece(const tokenizer_t *tokenizer, int32_t id) {
  if (id < 0 || id >= tokenizer->processor.GetPieceSize()) return nullptr;
  return tokenizer->processor.IdToPiece(id).c_str();
}

status_code_t tokenizer_encode(const tokenizer_t *tokenizer, const char *text, size_t n, int32_t **ids,
                               int32_t *count) {
  *ids = nullptr;
  *count = 0;
  if (n == 0) return STATUS_OK;
  return guarded("tokenising", [&]() -> status_code_t {
    std::vector<int> found;
    const auto status = tokenizer->processor.Encode(std::string_view(text, n), &found);
    if (!status.ok()) return error_set(STATUS_DATA, "tokenising %zu bytes: %s", n, status.error_message());
    if (found.size() > INT32_MAX) return error_set(STATUS_DATA, "a text has %zu tokens", found.size());
    const status_code_t memory = memory_alloc(ids, ARENA_DATA, found.size(), sizeof **ids);
    if (memory != STATUS_OK) return memory;
    if (!found.empty()) std::memcpy(*ids, found.data(), found.size() * sizeof **ids);
    *count = static_cast<int32_t>(found.size());
    return STATUS_OK;
  });
}

status_code_t tokenizer_decode(const tokenizer_t *tokenizer, const int32_t *ids, int32_t n, char **text,
                               size_t *length) {
  *text = nullptr;
  if (length) *length = 0;
  return guarded("decoding tokens", [&]() -> status_code_t {
    std::string all;
    const status_code_t status = decode(tokenizer, ids, n, &all);
    if (status != STATUS_OK) return status;
    all = make_utf8(all);
    const status_code_t memory = memory_copy_text(text, ARENA_DATA, all.data(), all.size());
    if (memory != STATUS_OK) return memory;
    if (length) *length = all.size();
    return STATUS_OK;
  });
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
    return create(std::move(bytes), out);
  });
}
