#include "text.h"

#include <math.h>

void spread_add(struct spread* spread, double value) {
  if (spread->count == 0 || value < spread->smallest) spread->smallest = value;
  if (spread->count == 0 || value > spread->largest) spread->largest = value;
  spread->count++;
  double distance = value - spread->mean;
  spread->mean += distance / (double)spread->count;
  spread->squares += distance * (value - spread->mean);
}

double spread_deviation(const struct spread* spread) {
  return spread->count < 2 ? 0 : sqrt(spread->squares / (double)(spread->count - 1));
}

void text_init(struct text* text, size_t min_length) {
  *text = (struct text){.min_length = min_length};
}

void text_free(struct text* text) {
  table_free(&text->words);
}

/* Not isalnum(): its answer depends on the locale. */
static int is_word_byte(unsigned char byte) {
  return (byte >= 'a' && byte <= 'z') || (byte >= 'A' && byte <= 'Z') || (byte >= '0' && byte <= '9') ||
         byte >= 0x80;
}

static char lower(unsigned char byte) {
  return (char)(byte >= 'A' && byte <= 'Z' ? byte + ('a' - 'A') : byte);
}

static int end_word(struct text* text) {
  size_t length = text->pending_length;
  text->pending_length = 0;
  while (length > 0 && text->pending[length - 1] == '\'') length--;
  if (length == 0 || length < text->min_length) return 0;
  spread_add(&text->word_length, (double)length);
  text->words_in_line++;
  return table_add(&text->words, text->pending, length) == 0 ? -1 : 0;
}

static void end_line(struct text* text) {
  spread_add(&text->line_words, (double)text->words_in_line);
  text->words_in_line = 0;
  text->line_open = 0;
}

int text_feed(struct text* text, const char* bytes, size_t length) {
  for (size_t i = 0; i < length; i++) {
    unsigned char byte = (unsigned char)bytes[i];
    text->line_open = 1;
    if (is_word_byte(byte) || (byte == '\'' && text->pending_length > 0)) {
      if (text->pending_length < LONGEST_WORD) text->pending[text->pending_length++] = lower(byte);
      continue;
    }
    if (end_word(text) != 0) return -1;
    if (byte == '\n') end_line(text);
  }
  return 0;
}

int text_end(struct text* text) {
  if (end_word(text) != 0) return -1;
  if (text->line_open) end_line(text);
  return 0;
}

int text_read(struct text* text, FILE* file) {
  char buffer[16384];
  size_t length;
  while ((length = fread(buffer, 1, sizeof buffer, file)) > 0) {
    if (text_feed(text, buffer, length) != 0) return -1;
  }
  return ferror(file) ? -1 : text_end(text);
}
