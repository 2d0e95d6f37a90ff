// clients/c/header: the public header is C++98, too. Built, and never run.
#include <pannier/client.h>

int
main()
{
        pn_opts opts = PN_OPTS_INIT;
        pn_client *client = NULL;
        pn_reply reply;
        pn_status status = pn_connect(&client, "127.0.0.1:7171", &opts);

        if (!pn_failed(status)) {
                status = pn_get(client, "k", 1, &reply);
                pn_reply_free(&reply);
        }
        pn_close(client);
        return status == PN_HIT ? 0 : 1;
}
