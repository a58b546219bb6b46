#include "table.h"

#include <stdint.h>
#include <stdlib.h>
#include <string.h>

enum { FIRST_CAPACITY = 64 };

static uint64_t hash(const char* text, size_t length) {
  uint64_t value = 14695981039346656037u; /* FNV-1a */
  for (size_t i = 0; i < length; i++) {
    value ^= (unsigned char)text[i];
    value *= 1099511628211u;
  }
  return value;
}

/* The slot of the word, or the free one where it belongs. The table is never full. */
static struct word* find(const struct table* table, const char* text, size_t length) {
  size_t mask = table->capacity - 1;
  for (size_t i = (size_t)hash(text, length) & mask;; i = (i + 1) & mask) {
    struct word* slot = &table->slots[i];
    if (slot->text == NULL || (slot->length == length && memcmp(slot->text, text, length) == 0)) return slot;
  }
}

static int grow(struct table* table) {
  struct table larger = {.capacity = table->capacity ? table->capacity * 2 : FIRST_CAPACITY};
  larger.slots = calloc(larger.capacity, sizeof *larger.slots);
  if (larger.slots == NULL) return -1;
  for (size_t i = 0; i < table->capacity; i++) {
    const struct word* old = &table->slots[i];
    if (old->text != NULL) *find(&larger, old->text, old->length) = *old;
  }
  free(table->slots);
  table->slots = larger.slots;
  table->capacity = larger.capacity;
  return 0;
}

void table_init(struct table* table) {
  *table = (struct table){0};
}

void table_free(struct table* table) {
  for (size_t i = 0; i < table->capacity; i++) free(table->slots[i].text);
  free(table->slots);
  table_init(table);
}

unsigned long table_add(struct table* table, const char* text, size_t length) {
  if (table->used >= table->capacity / 4 * 3 && grow(table) != 0) return 0;
  struct word* slot = find(table, text, length);
  if (slot->text == NULL) {
    slot->text = malloc(length + 1);
    if (slot->text == NULL) return 0;
    memcpy(slot->text, text, length);
    slot->text[length] = '\0';
    slot->length = length;
    table->used++;
  }
  table->total++;
  return ++slot->count;
}

unsigned long table_count(const struct table* table, const char* text, size_t length) {
  return table->capacity == 0 ? 0 : find(table, text, length)->count;
}

static int more_frequent(const void* a, const void* b) {
  const struct word* left = a;
  const struct word* right = b;
  if (left->count != right->count) return left->count > right->count ? -1 : 1;
  return strcmp(left->text, right->text);
}

struct word* table_sorted(const struct table* table) {
  struct word* words = table->used ? malloc(table->used * sizeof *words) : NULL;
  if (words == NULL) return NULL;
  size_t count = 0;
  for (size_t i = 0; i < table->capacity; i++) {
    if (table->slots[i].text != NULL) words[count++] = table->slots[i];
  }
  qsort(words, count, sizeof *words, more_frequent);
  return words;
}
