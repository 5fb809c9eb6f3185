/* What the sections tls and listener mean to relay/net/tls.h. */
#include "relay/daemon/node_config.h"

#include "relay/base/clock.h"
#include "relay/base/mem.h"

#include <stdio.h>

enum {
	EXPIRY_WARNING_DAYS = 30,
};

#define DAY_MS ((int64_t)24 * 3600 * 1000)

struct tls_context *
node_listener_tls_context(const struct node_listener *listener, struct err *err)
{
	size_t count = listener->certificate_count;
	struct tls_identity *identities = mem_alloc_array(count, sizeof(*identities));

	for (size_t i = 0; i < count; i++)
		identities[i] = (struct tls_identity){
			.certificate_file = listener->certificates[i]->certificate_file,
			.key_file = listener->certificates[i]->key_file,
		};
	struct tls_server_settings settings = {
		.identities = identities,
		.identity_count = count,
		.ca_file = listener->client_auth == TLS_CLIENT_AUTH_NONE
			? NULL : listener->certificates[0]->ca_file,
		.client_auth = listener->client_auth,
		.version_min = listener->certificates[0]->version_min,
	};
	struct tls_context *context = tls_server_context_new(&settings, err);

	mem_free(&identities);
	return context;
}

struct tls_context *
node_tls_client_context(const struct node_tls *tls, struct err *err)
{
	struct tls_client_settings settings = { .version_min = TLS_VERSION_1_2 };
	struct tls_identity identity;

	if (tls) {
		settings.ca_file = tls->ca_file;
		settings.version_min = tls->version_min;
		if (tls->certificate_file) {
			identity = (struct tls_identity){
				.certificate_file = tls->certificate_file,
				.key_file = tls->key_file,
			};
			settings.identity = &identity;
		}
	}
	return tls_client_context_new(&settings, err);
}

bool
node_listener_admits(const struct node_listener *listener, const struct tls_info *info)
{
	if (listener->client_name_count == 0)
		return true;
	if (!info || !info->peer_verified)
		return false;
	for (size_t i = 0; i < listener->client_name_count; i++)
		if (span_equal_nocase_cstr(span_from_cstr(info->peer_name),
					   listener->client_names[i]))
			return true;
	return false;
}

static void
warn_of_section(const struct node_tls *tls, int64_t wall_ms,
		void (*warn)(void *ctx, const char *text), void *ctx)
{
	struct tls_context *context = node_tls_client_context(tls, NULL);
	char text[ERR_TEXT_BYTES];

	if (!context)
		return;
	int64_t not_after_ms = tls_context_not_after_ms(context);
	int64_t left_ms = not_after_ms - wall_ms;

	if (tls_context_warning(context)) {
		(void)snprintf(text, sizeof(text), "tls \"%s\": %s", tls->name,
			       tls_context_warning(context));
		warn(ctx, text);
	} else if (not_after_ms != 0 && left_ms >= 0 && left_ms < EXPIRY_WARNING_DAYS * DAY_MS) {
		(void)snprintf(text, sizeof(text), "tls \"%s\": the certificate expires in %d days",
			       tls->name, (int)(left_ms / DAY_MS));
		warn(ctx, text);
	}
	tls_context_unref(&context);
}

void
node_config_tls_warnings(const struct node_config *config, int64_t wall_ms,
			 void (*warn)(void *ctx, const char *text), void *ctx)
{
	for (size_t i = 0; i < config->tls_count; i++)
		if (config->tls[i].certificate_file)
			warn_of_section(&config->tls[i], wall_ms, warn, ctx);
}
