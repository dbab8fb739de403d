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

    public static void main(String[] args) throws Exception {
        Path lease = Path.of(System.getProperty("elkkit.lease"));
        Path keep = Path.of(System.getProperty("elkkit.keep"));
        CountDownLatch unused = new CountDownLatch(1);
        Thread watch = new Thread(() -> awaitLastUser(lease, keep, unused), "elkkit-lease");
        watch.setDaemon(true);
        watch.start();

        Path home = Path.of(System.getProperty("es.path.home"));
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
        unused.await();
        System.exit(0);
    }

    /** Returns once no user is left, with the lease locked until this process ends, so that nobody comes too late. */
    private static void awaitLastUser(Path lease, Path keep, CountDownLatch unused) {
        try {
            FileChannel channel = FileChannel.open(lease, StandardOpenOption.CREATE, StandardOpenOption.WRITE);
            while (true) {
                FileLock lock = channel.lock();
                if (!Files.exists(keep)) {
                    unused.countDown();
                    return;
                }
                lock.release();
                Thread.sleep(LOOK_MILLIS);
            }
        } catch (Exception error) {
            error.printStackTrace();
            unused.countDown();
        }
    }

    private static void close(Node node) {
        try {
            node.prepareForClose();
            node.close();
            node.awaitClose(10, TimeUnit.SECONDS);
        } catch (Exception error) {
            error.printStackTrace();
        }
    }
}
