import java.io.PrintStream;
import java.nio.channels.FileChannel;
import java.nio.channels.FileLock;
import java.nio.file.Files;
import java.nio.file.Path;
import java.nio.file.StandardOpenOption;
import java.util.Map;
import java.util.concurrent.CountDownLatch;
import java.util.concurrent.TimeUnit;
import org.elasticsearch.common.logging.LogConfigurator;
import org.elasticsearch.common.settings.Settings;
import org.elasticsearch.env.Environment;
import org.elasticsearch.node.InternalSettingsPreparer;
import org.elasticsearch.node.Node;
import org.elasticsearch.plugins.PluginsLoader;
import org.elasticsearch.plugins.PluginsUtils;

/**
 * Elasticsearch as one node of elkkit's. Elasticsearch's own main class needs jars that are not published.
 *
 * The node lives as long as somebody uses it: users hold shared locks on the lease file, which the kernel takes back
 * when they die. Whoever wants it to stay without users writes the keep file.
 */
public final class ElkkitNode {
    private static final long LOOK_MILLIS = 500;
    private static final long CLOSE_SECONDS = 15;

    /** As Java started with it; Elasticsearch redirects it into its log, which may not be there yet or not any more. */
    private static final PrintStream ERRORS = System.err;

    public static void main(String[] args) {
        Path lease = Path.of(System.getProperty("elkkit.lease"));
        Path keep = Path.of(System.getProperty("elkkit.keep"));
        Thread watch = new Thread(() -> awaitLastUser(lease, keep), "elkkit-lease");
        watch.setDaemon(true);
        watch.start();
        try {
            run(Path.of(System.getProperty("es.path.home")));
        } catch (Throwable error) {
            error.printStackTrace(ERRORS);
            Runtime.getRuntime().halt(1); // threads of a node that is half there would keep the process alive
        }
    }

    private static void run(Path home) throws Exception {
        Environment environment = InternalSettingsPreparer.prepareEnvironment(
            Settings.EMPTY, Map.of("path.home", home.toString()), home.resolve("config"), () -> "elkkit");
        LogConfigurator.setNodeName("elkkit");
        LogConfigurator.configure(environment, true);
        PluginsLoader plugins = PluginsLoader.createPluginsLoader(
            PluginsUtils.getModuleBundles(environment.modulesDir()),
            PluginsUtils.getPluginBundles(environment.pluginsDir()),
            Map.of(),
            false);
        Node node = new Node(environment, plugins);
        Runtime.getRuntime().addShutdownHook(new Thread(() -> close(node), "elkkit-close"));
        node.start();
        new CountDownLatch(1).await();
    }

    /** Ends the process once no user is left, with the lease locked until then, so that nobody comes too late. */
    private static void awaitLastUser(Path lease, Path keep) {
        try {
            FileChannel channel = FileChannel.open(lease, StandardOpenOption.CREATE, StandardOpenOption.WRITE);
            while (true) {
                FileLock lock = channel.lock();
                if (!Files.exists(keep)) {
                    break;
                }
                lock.release();
                Thread.sleep(LOOK_MILLIS);
            }
        } catch (Exception error) {
            error.printStackTrace(ERRORS);
        }
        System.exit(0);
    }

    private static void close(Node node) {
        Thread limit = new Thread(() -> haltLate(), "elkkit-limit"); // users wait for the lease of one that hangs
        limit.setDaemon(true);
        limit.start();
        try {
            node.prepareForClose();
            node.close();
            node.awaitClose(10, TimeUnit.SECONDS);
        } catch (Exception error) {
            error.printStackTrace(ERRORS);
        }
    }

    private static void haltLate() {
        try {
            TimeUnit.SECONDS.sleep(CLOSE_SECONDS);
        } catch (InterruptedException error) {
            Thread.currentThread().interrupt();
        }
        Runtime.getRuntime().halt(2);
    }
}
