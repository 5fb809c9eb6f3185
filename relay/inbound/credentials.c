#include "relay/inbound/credentials.h"

#include <crypt.h>
#include <stdlib.h>
#include <string.h>

#include "relay/base/arena.h"
#include "relay/base/base64.h"
#include "relay/base/digest.h"
#include "relay/base/file.h"
#include "relay/base/mem.h"

enum {
	CREDENTIALS_FILE_BYTES_MAX = 64 << 20,
	SALT_BYTES = 16,                /* of what we make ourselves */
	ITERATIONS = 65536,             /* about what a login may cost a client */
	FAKE_TEXT_BYTES_MAX = SASL_USER_BYTES_MAX + DIGEST_BYTES + 8,
};

#define SCRAM_PREFIX "SCRAM-SHA-256$"

struct credential {
	struct span user;
	unsigned line;
	const char *hash;               /* of crypt(3); NULL: it is SCRAM keys */
	struct sasl_scram scram;
};

struct credentials {
	struct arena arena;
	struct credential *all;         /* ordered by user */
	size_t count, capacity;
	const struct credential *scram_pattern;         /* what keys look like here */
	uint8_t secret[DIGEST_BYTES];   /* of the file: what is made up is made of it */
};

/* What a user costs who is not there, in a file without users. */
static const char empty_file_hash[] = "$y$j9T$tNDcVcnzvMCnmvJN3g3dw1$";

/* ---- one line */

int
credentials_check_user(struct span user, struct err *err)
{
	size_t at;

	if (user.len == 0 || user.len > SASL_USER_BYTES_MAX)
		return err_set(err, ERR_CONFIG, "expected a user's name of 1 to %d octets",
		    SASL_USER_BYTES_MAX);
	if (span_has_control(user) || !span_is_utf8(user) || span_find_byte(user, ':', &at) ||
	    user.data[0] == '#')
		return err_set(err, ERR_CONFIG,
		    "expected a user's name of UTF-8 without ':', controls and '#' at its front");
	return 0;
}

static bool
decode_exactly(struct span text, size_t min, size_t max, uint8_t *data_out, size_t *len_out)
{
	struct buf data;
	bool good;

	buf_init(&data, 2 * SASL_SALT_BYTES_MAX);
	good = base64_decode(text, &data, NULL) == 0 && buf_len(&data) >= min &&
	    buf_len(&data) <= max;
	if (good) {
		*len_out = buf_len(&data);
		memcpy(data_out, buf_span(&data).data, buf_len(&data));
	}
	buf_wipe(&data);
	return good;
}

/* RFC 5803 section 2, behind the name of the mechanism. */
static bool
parse_scram(struct span text, struct sasl_scram *scram)
{
	struct span cost, keys, iterations, salt, stored, server;
	size_t len;

	return span_split(text, '$', &cost, &keys) &&
	    span_split(cost, ':', &iterations, &salt) &&
	    span_split(keys, ':', &stored, &server) &&
	    span_parse_u32(iterations, SASL_ITERATIONS_MAX, &scram->iterations) &&
	    scram->iterations >= SASL_ITERATIONS_MIN &&
	    decode_exactly(salt, 8, SASL_SALT_BYTES_MAX, scram->salt, &scram->salt_len) &&
	    decode_exactly(stored, SASL_KEY_BYTES, SASL_KEY_BYTES, scram->stored_key, &len) &&
	    decode_exactly(server, SASL_KEY_BYTES, SASL_KEY_BYTES, scram->server_key, &len);
}

/* Hashes that are worth something against who has stolen the file. */
static bool
is_good_hash(struct span secret, const char *text)
{
	static const char *const methods[] = { "$y$", "$gy$", "$7$", "$2b$", "$2y$", "$6$", "$5$" };

	for (size_t i = 0; i < sizeof(methods) / sizeof(methods[0]); i++)
		if (span_starts_with(secret, span_from_cstr(methods[i])))
			return secret.len > 20 && secret.len < CRYPT_OUTPUT_SIZE &&
			    !span_has_control(secret) && crypt_checksalt(text) == CRYPT_SALT_OK;
	return false;
}

static int
parse_line(struct credentials *it, struct span text, unsigned line, struct err *err)
{
	struct credential entry = { .line = line };
	struct span user, secret;

	if (!span_split(text, ':', &user, &secret))
		return err_set(err, ERR_CONFIG, "expected user:secret");
	if (credentials_check_user(user, err) < 0)
		return -1;
	if (span_starts_with(secret, SPAN(SCRAM_PREFIX))) {
		if (!parse_scram(span_skip(secret, sizeof(SCRAM_PREFIX) - 1), &entry.scram))
			return err_set(err, ERR_CONFIG, "expected "
			    SCRAM_PREFIX "ITERATIONS:SALT$STOREDKEY:SERVERKEY, of at least %d "
			    "iterations", SASL_ITERATIONS_MIN);
	} else {
		entry.hash = arena_dup(&it->arena, secret).data;
		if (!is_good_hash(secret, entry.hash))
			return err_set(err, ERR_CONFIG, "expected a hash of crypt(3) that begins "
			    "with $y$, $gy$, $7$, $2b$, $2y$, $6$ or $5$, or keys that begin "
			    "with " SCRAM_PREFIX "; relayctl passwd makes both");
	}
	entry.user = arena_dup(&it->arena, user);
	if (it->count == it->capacity) {
		it->capacity = it->capacity ? 2 * it->capacity : 16;
		it->all = mem_resize_array(it->all, it->capacity, sizeof(*it->all));
	}
	it->all[it->count++] = entry;
	return 0;
}

/* ---- the file */

static int
compare(const void *a, const void *b)
{
	const struct credential *one = a, *other = b;
	int order = span_compare(one->user, other->user);

	return order != 0 ? order : (one->line > other->line) - (one->line < other->line);
}

static int
put_in_order(struct credentials *it, const char *file_name, struct err *err)
{
	if (it->count > 0)
		qsort(it->all, it->count, sizeof(*it->all), compare);
	for (size_t i = 0; i < it->count; i++) {
		if (i > 0 && span_equal(it->all[i].user, it->all[i - 1].user))
			return err_set(err, ERR_CONFIG,
			    "%s:%u: the user stands in line %u already", file_name,
			    it->all[i].line, it->all[i - 1].line);
		if (!it->all[i].hash && !it->scram_pattern)
			it->scram_pattern = &it->all[i];
	}
	return 0;
}

struct credentials *
credentials_parse(struct span text, const char *file_name, struct err *err)
{
	struct credentials *it = mem_alloc(sizeof(*it));
	struct span line;
	unsigned number = 0;

	arena_init(&it->arena, 0);
	digest_of(text, it->secret);
	while (span_take_part(&text, '\n', &line)) {
		number++;
		line = span_trim(line);
		if (line.len == 0 || line.data[0] == '#')
			continue;
		if (parse_line(it, line, number, err) < 0) {
			(void)err_wrap(err, "%s:%u", file_name, number);
			credentials_free(&it);
			return NULL;
		}
	}
	if (put_in_order(it, file_name, err) < 0)
		credentials_free(&it);
	return it;
}

struct credentials *
credentials_load(const char *path, struct err *err)
{
	struct credentials *it = NULL;
	struct buf text;

	buf_init(&text, CREDENTIALS_FILE_BYTES_MAX);
	if (file_read_whole_private(path, &text, err) == 0)
		it = credentials_parse(buf_span(&text), path, err);
	buf_wipe(&text);
	return it;
}

void
credentials_free(struct credentials **credentials)
{
	struct credentials *it = *credentials;

	if (!it)
		return;
	if (it->all)
		mem_wipe(it->all, it->capacity * sizeof(*it->all));
	mem_free(&it->all);
	arena_fini(&it->arena);
	mem_wipe(it->secret, sizeof(it->secret));
	mem_free(credentials);
}

size_t
credentials_count(const struct credentials *it)
{
	return it->count;
}

bool
credentials_have_scram(const struct credentials *it)
{
	return it->scram_pattern != NULL;
}

/* ---- questions */

static const struct credential *
find(const struct credentials *it, struct span user)
{
	size_t low = 0, high = it->count;

	while (low < high) {
		size_t middle = low + (high - low) / 2;
		int order = span_compare(it->all[middle].user, user);

		if (order == 0)
			return &it->all[middle];
		if (order < 0)
			low = middle + 1;
		else
			high = middle;
	}
	return NULL;
}

static bool
hash_fits(const char *hash, struct span password)
{
	struct crypt_data *data = mem_alloc(sizeof(*data));
	char *text = mem_dup_text(password.data, password.len);
	const char *made = crypt_rn(text, hash, data, sizeof(*data));
	bool fits = made && span_equal_secret(span_from_cstr(made), span_from_cstr(hash));

	mem_wipe(text, password.len);
	mem_wipe(data, sizeof(*data));
	mem_free(&text);
	mem_free(&data);
	return fits;
}

static bool
keys_fit(const struct sasl_scram *scram, struct span password)
{
	struct sasl_scram made = *scram;
	bool fits = sasl_scram_derive(password, &made) == 0 && span_equal_secret(
	    span_make(made.stored_key, SASL_KEY_BYTES),
	    span_make(scram->stored_key, SASL_KEY_BYTES));

	mem_wipe(&made, sizeof(made));
	return fits;
}

bool
credentials_password_is(const struct credentials *it, struct span user, struct span password)
{
	const struct credential *entry = find(it, user);
	const struct credential *paid = entry;
	uint64_t seed;
	bool fits;

	/* Who is not there costs what somebody costs who is: always the same one. */
	memcpy(&seed, it->secret, sizeof(seed));
	if (!paid && it->count > 0)
		paid = &it->all[span_hash(user, seed) % it->count];
	if (!paid)
		fits = hash_fits(empty_file_hash, password);
	else if (paid->hash)
		fits = hash_fits(paid->hash, password);
	else
		fits = keys_fit(&paid->scram, password);
	return fits && entry;
}

/* Made of the secret and the user: what is always the same and tells nothing. */
static void
make_up(const struct credentials *it, char what, struct span user,
    uint8_t value_out[DIGEST_BYTES])
{
	struct buf text;

	buf_init(&text, FAKE_TEXT_BYTES_MAX);
	(void)buf_append(&text, span_make(it->secret, sizeof(it->secret)));
	(void)buf_append_byte(&text, what);
	(void)buf_append(&text, user);
	digest_of(buf_span(&text), value_out);
	buf_wipe(&text);
}

void
credentials_scram_of(const struct credentials *it, struct span user,
    struct sasl_scram *scram_out)
{
	const struct credential *entry = find(it, user);
	uint8_t salt[2 * DIGEST_BYTES];

	if (entry && !entry->hash) {
		*scram_out = entry->scram;
		return;
	}
	*scram_out = (struct sasl_scram){
		.iterations = it->scram_pattern ? it->scram_pattern->scram.iterations : ITERATIONS,
		.salt_len = it->scram_pattern ? it->scram_pattern->scram.salt_len : SALT_BYTES,
	};
	make_up(it, 'a', user, salt);
	make_up(it, 'b', user, salt + DIGEST_BYTES);
	memcpy(scram_out->salt, salt, scram_out->salt_len);
	make_up(it, 'c', user, scram_out->stored_key);
	make_up(it, 'd', user, scram_out->server_key);
}

/* ---- making */

static int
make_scram(struct span password, struct random *random, struct buf *out, struct err *err)
{
	struct sasl_scram scram = { .iterations = ITERATIONS, .salt_len = SALT_BYTES };

	random_fill(random, scram.salt, scram.salt_len);
	if (sasl_scram_derive(password, &scram) < 0)
		return err_set(err, ERR_FORMAT, "the password has characters that none may have");
	(void)buf_appendf(out, SCRAM_PREFIX "%u:", scram.iterations);
	(void)base64_encode(span_make(scram.salt, scram.salt_len), out);
	(void)buf_append_byte(out, '$');
	(void)base64_encode(span_make(scram.stored_key, SASL_KEY_BYTES), out);
	(void)buf_append_byte(out, ':');
	(void)base64_encode(span_make(scram.server_key, SASL_KEY_BYTES), out);
	mem_wipe(&scram, sizeof(scram));
	return 0;
}

static int
make_hash(struct span password, struct random *random, struct buf *out, struct err *err)
{
	char bytes[32], setting[CRYPT_GENSALT_OUTPUT_SIZE];
	struct crypt_data *data = mem_alloc(sizeof(*data));
	char *text = mem_dup_text(password.data, password.len);
	const char *hash = NULL;

	random_fill(random, bytes, sizeof(bytes));
	if (crypt_gensalt_rn("$y$", 0, bytes, sizeof(bytes), setting, sizeof(setting)))
		hash = crypt_rn(text, setting, data, sizeof(*data));
	if (hash)
		(void)buf_append_cstr(out, hash);
	else
		(void)err_set(err, ERR_SYSTEM, "crypt(3) of this system has no yescrypt");
	mem_wipe(text, password.len);
	mem_free(&text);
	mem_wipe(data, sizeof(*data));
	mem_free(&data);
	return hash ? 0 : -1;
}

int
credentials_make(struct span user, struct span password, bool scram, struct random *random,
    struct buf *line_out, struct err *err)
{
	size_t at;

	if (credentials_check_user(user, err) < 0)
		return -1;
	if (password.len == 0 || password.len > SASL_PASSWORD_BYTES_MAX ||
	    span_find_byte(password, '\0', &at))
		return err_set(err, ERR_FORMAT, "expected a password of 1 to %d octets",
		    SASL_PASSWORD_BYTES_MAX);
	(void)buf_append(line_out, user);
	(void)buf_append_byte(line_out, ':');
	if (scram)
		return make_scram(password, random, line_out, err);
	return make_hash(password, random, line_out, err);
}
