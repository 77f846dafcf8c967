import com.google.gson.JsonArray;
import com.google.gson.JsonElement;
import com.google.gson.JsonObject;
import com.google.gson.JsonParser;
import java.io.IOException;
import java.io.PrintStream;
import java.net.URI;
import java.net.http.HttpClient;
import java.net.http.HttpRequest;
import java.net.http.HttpRequest.BodyPublishers;
import java.net.http.HttpResponse;
import java.net.http.HttpResponse.BodyHandlers;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.security.KeyStore;
import java.security.cert.CertificateFactory;
import java.time.Duration;
import java.util.Set;
import javax.net.ssl.KeyManagerFactory;
import javax.net.ssl.SSLContext;
import javax.net.ssl.TrustManagerFactory;

/**
 * Looks one citizen up through the gateway, with java.net.http (Java 17 or newer) and Gson.
 *
 *   openssl pkcs12 -export -in system.pem -out system.p12    # this system's certificate and private key
 *   export GATEWAY_URL=https://gateway.example:8443
 *   export GATEWAY_CA=gateway-ca.pem                         # the authority of the gateway's certificate
 *   export GATEWAY_IDENTITY=system.p12 GATEWAY_PASSWORD=...
 *   java -cp gson.jar Lookup.java < keys.json                # {"id": "...", "full_name": "...", "date_of_birth": "..."}
 *
 * Prints the fields that this system may see, one a line. Ends with 2 if nobody matches, with 1 if refused.
 */
public class Lookup {
    static final int ATTEMPTS = 5;
    static final long LONGEST = 60; // seconds: what would take longer is for an operator
    // Names are not of the platform's character set.
    static final PrintStream OUT = new PrintStream(System.out, true, StandardCharsets.UTF_8);

    public static void main(String[] args) throws Exception {
        var client = HttpClient.newBuilder().sslContext(tls()).build();
        var keys = new String(System.in.readAllBytes(), StandardCharsets.UTF_8);
        HttpResponse<String> answer = null;
        try {
            answer = lookUp(client, keys);
        } catch (IOException error) {
            System.err.println("no answer: " + error);
            System.exit(1);
        }
        var body = JsonParser.parseString(answer.body()).getAsJsonObject();
        if (answer.statusCode() == 200) {
            printFields("", body);
            return;
        }
        // application/problem+json: `code` is stable, `detail` says what to do.
        var code = body.get("code").getAsString();
        if (code.equals("no_match")) {
            System.err.println("nobody matches: check the number, the name and the date of birth");
            System.exit(2);
        }
        var request = answer.headers().firstValue("Gateway-Request-Id").orElse("without an id");
        System.err.printf("refused: %s: %s (request %s)%n", code, body.get("detail").getAsString(), request);
        System.exit(1);
    }

    static HttpResponse<String> lookUp(HttpClient client, String keys) throws Exception {
        var request = HttpRequest.newBuilder(URI.create(setting("GATEWAY_URL") + "/population/v1/citizens/lookup"))
                .header("Content-Type", "application/json")
                .header("Gateway-Purpose", System.getenv().getOrDefault("GATEWAY_PURPOSE", "assessment"))
                .timeout(Duration.ofSeconds(30))
                .POST(BodyPublishers.ofString(keys))
                .build();
        for (int attempt = 1; ; attempt++) {
            var answer = client.send(request, BodyHandlers.ofString());
            // Over the rate, or something behind the gateway is down for now: it says in how many seconds to come again.
            var wait = answer.headers().firstValueAsLong("Retry-After").orElse(LONGEST + 1);
            var passes = Set.of(429, 503, 504).contains(answer.statusCode()) && wait <= LONGEST;
            if (!passes || attempt == ATTEMPTS) {
                return answer;
            }
            var code = JsonParser.parseString(answer.body()).getAsJsonObject().get("code").getAsString();
            System.err.printf("%d %s: again in %d s%n", answer.statusCode(), code, wait);
            Thread.sleep(Duration.ofSeconds(wait).toMillis());
        }
    }

    /** Every field with its path, such as `permanent_residence.province`. A field that is withheld is not there. */
    static void printFields(String name, JsonElement value) {
        var prefix = name.isEmpty() ? "" : name + ".";
        if (value instanceof JsonObject object) {
            object.entrySet().forEach(member -> printFields(prefix + member.getKey(), member.getValue()));
        } else if (value instanceof JsonArray array) {
            for (int at = 0; at < array.size(); at++) {
                printFields(prefix + at, array.get(at));
            }
        } else {
            OUT.println(name + ": " + (value.isJsonNull() ? "null" : value.getAsString()));
        }
    }

    static SSLContext tls() throws Exception {
        var trusted = KeyStore.getInstance("PKCS12");
        trusted.load(null, null);
        try (var pem = Files.newInputStream(Path.of(setting("GATEWAY_CA")))) {
            trusted.setCertificateEntry("gateway", CertificateFactory.getInstance("X.509").generateCertificate(pem));
        }
        var trust = TrustManagerFactory.getInstance(TrustManagerFactory.getDefaultAlgorithm());
        trust.init(trusted);

        var password = setting("GATEWAY_PASSWORD").toCharArray();
        var own = KeyStore.getInstance("PKCS12");
        try (var file = Files.newInputStream(Path.of(setting("GATEWAY_IDENTITY")))) {
            own.load(file, password);
        }
        var keys = KeyManagerFactory.getInstance(KeyManagerFactory.getDefaultAlgorithm());
        keys.init(own, password);

        var context = SSLContext.getInstance("TLS");
        context.init(keys.getKeyManagers(), trust.getTrustManagers(), null);
        return context;
    }

    static String setting(String name) {
        var value = System.getenv(name);
        if (value == null) {
            throw new IllegalStateException("set " + name);
        }
        return value;
    }
}
