/*
 * What the files of relay_config share.
 */
#ifndef RELAY_RELAY_CONFIG_PRIVATE_H
#define RELAY_RELAY_CONFIG_PRIVATE_H

#include "relay/relay_config.h"

int relay_config_check_certificate(struct span value, struct err *err);
int relay_config_check_interval(struct span value, struct err *err);
int relay_config_check_address(struct span value, struct err *err);

/* Sections accept and user into config->policy, fairness into config->gate. */
int relay_config_read_accept(struct relay_config *config, struct err *err);

/* Section auth into config->login, and whether every listener has what it needs of it. */
int relay_config_check_mechanism(struct span value, struct err *err);
int relay_config_read_auth(struct relay_config *config, struct err *err);

/* The options auth_... of a route; *login_out stays NULL where there are none. */
int relay_config_read_login(const struct conf_block *block, struct call_login **login_out,
    struct err *err);

/* The routes of the file into config->outbound.routes. */
int relay_config_read_routes(struct relay_config *config, struct err *err);

/* The strings of a list option, in the configuration's arena. */
const char *const *relay_config_strings(struct relay_config *config,
    const struct conf_block *block, const char *option, size_t *count_out);

#endif
